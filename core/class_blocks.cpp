#include "class_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "parallel.h"

namespace luce {
namespace {

constexpr Index LEAST_ROWS = 256, MOST_ROWS = 16384;  // of a tile
constexpr Index APART = 80;     // numbers between the blocks of a tile, so that a row's pieces do not share cache sets
constexpr float FLAT = 1e-20f;  // a class of less curvature has no intercept
constexpr std::size_t LINE = 64;  // bytes of a line of the cache
constexpr Index GROUP = 64;       // rows that a thread takes at a time

double added(const std::vector<double>& parts) {
    double sum = 0.0;
    for (const double part : parts) sum += part;
    return sum;
}

void logits_of(const SparseRow& x, const float* w, const float* bias, float* z) {
    block_kernels().logits(x, w, bias, z);
}
void logits_of(const SparseRow& x, const float* w, const double* bias, double* z) {
    block_kernels().logits_exact(x, w, bias, z);
}

// The logits of some rows, block after block: row r of block b begins at b * stride + r * BLOCK.
template <class T>
struct Tile {
    const Index* rows;
    Index count, stride;
    T* z;
    T* row(Index r) const { return z + r * BLOCK; }
    T* block(Index b) const { return z + b * stride; }
};

// Runs body(row of the tile) for all its rows, a group at a time; adds what they give, in order.
template <class Body>
double over_rows(Index count, int threads, const Body& body) {
    std::vector<double> found(count);
    parallel_for((count + GROUP - 1) / GROUP, threads, [&](Index g) {
        for (Index r = g * GROUP; r < std::min(count, (g + 1) * GROUP); ++r) found[r] = body(r);
    });
    return added(found);
}

}  // namespace

ClassBlocks::ClassBlocks(const Csr& x, const Targets& y)
    : x_(x), y_(y), columns_(x.columns), blocks_((y.classes + BLOCK - 1) / BLOCK), values_(x.values) {
    for (Index i = 0; i < x.rows; ++i)
        if (weight(i) > 0.0) rows_.push_back(i);
    if (values_ != nullptr) return;
    own_.resize(x.starts[x.rows]);
    for (Index e = 0; e < x.starts[x.rows]; ++e) own_[e] = static_cast<float>(x.value(e));
    values_ = own_.data();
}

SparseRow ClassBlocks::at(Index row, bool exact) const {
    const Index first = x_.starts[row], count = x_.starts[row + 1] - first;
    const bool doubles = exact && x_.doubles != nullptr;
    return {x_.indices + first, doubles ? nullptr : values_ + first, doubles ? x_.doubles + first : nullptr, count};
}

// Such that going through the weights costs little beside the products, and logits take no more room than weights.
template <class T>
Index ClassBlocks::tile_rows() const {
    return std::clamp<Index>(columns_ / 2, LEAST_ROWS, MOST_ROWS) * static_cast<Index>(sizeof(float)) /
           static_cast<Index>(sizeof(T));
}

template <class T, class Body>
void ClassBlocks::each_tile(const float* w, const T* bias, int threads, const Body& body) const {
    const Index all = static_cast<Index>(rows_.size()), most = std::min(tile_rows<T>(), std::max<Index>(all, 1));
    const Index stride = most * BLOCK + APART;
    const std::size_t size = blocks_ * stride * sizeof(T);
    std::size_t space = size + LINE;
    const std::unique_ptr<char[]> room(new char[space]);
    void* begin = room.get();
    T* const z = static_cast<T*>(std::align(LINE, size, begin, space));
    for (Index first = 0; first < all; first += most) {
        const Tile<T> tile{&rows_[first], std::min(most, all - first), stride, z};
        parallel_for(blocks_, threads, [&](Index b) {
            for (Index r = 0; r < tile.count; ++r)
                logits_of(at(tile.rows[r], sizeof(T) == sizeof(double)), w + b * each(), bias + b * BLOCK,
                          tile.block(b) + r * BLOCK);
        });
        body(tile);
    }
}

ClassBlocks::Value ClassBlocks::gradient(const float* w, double penalty, float* g, double* slope, int threads) const {
    const BlockKernels& k = block_kernels();
    const int blocks = static_cast<int>(blocks_);
    std::fill(slope, slope + blocks_ * BLOCK, 0.0);
    parallel_for(blocks_, threads, [&](Index b) { std::fill(g + b * each(), g + (b + 1) * each(), 0.0f); });
    double loss = 0.0;
    each_tile<float>(w, intercepts(w).data(), threads, [&](const Tile<float>& tile) {
        loss += over_rows(tile.count, threads, [&](Index r) {
            const Index i = tile.rows[r];
            return k.residual(tile.row(r), tile.stride, blocks, y_.label[i], static_cast<float>(weight(i)));
        });
        parallel_for(blocks_, threads, [&](Index b) {
            for (Index r = 0; r < tile.count; ++r) {
                const float* residual = tile.block(b) + r * BLOCK;
                k.add(at(tile.rows[r], false), residual, g + b * each());
                for (int c = 0; c < BLOCK; ++c) slope[b * BLOCK + c] += static_cast<double>(residual[c]);
            }
        });
    });
    std::vector<double> weights(blocks_), gradients(blocks_);
    parallel_for(blocks_, threads, [&](Index b) {
        const float* mine = w + b * each();
        float* out = g + b * each();
        const Index count = columns_ * BLOCK;
        gradients[b] = k.add_scaled(out, mine, static_cast<float>(penalty), count);
        for (int c = 0; c < BLOCK; ++c) out[count + c] = static_cast<float>(slope[b * BLOCK + c]);
        for (Index i = 0; i < count; ++i) weights[b] += static_cast<double>(mine[i]) * static_cast<double>(mine[i]);
    });
    return {loss + 0.5 * penalty * added(weights), added(gradients)};
}

double ClassBlocks::masses(const float* w, const double* bias, double* share, double* curve, int threads) const {
    const BlockKernels& k = block_kernels();
    std::fill(share, share + blocks_ * BLOCK, 0.0);
    std::fill(curve, curve + blocks_ * BLOCK, 0.0);
    double loss = 0.0;
    each_tile<double>(w, bias, threads, [&](const Tile<double>& tile) {
        loss += over_rows(tile.count, threads, [&](Index r) {
            const Index i = tile.rows[r], own = y_.label[i];
            const double mine = tile.row(r)[own / BLOCK * tile.stride + own % BLOCK];
            return weight(i) * (k.shares(tile.row(r), tile.stride, static_cast<int>(blocks_)) - mine);
        });
        parallel_for(blocks_, threads, [&](Index b) {
            for (Index r = 0; r < tile.count; ++r)
                k.masses(tile.block(b) + r * BLOCK, weight(tile.rows[r]), share + b * BLOCK, curve + b * BLOCK);
        });
    });
    return loss;
}

ClassBlocks::Bound ClassBlocks::bound(const float* w, const double* bias, double penalty, const double* keep,
                                      const double* gain, int threads) const {
    const BlockKernels& k = block_kernels();
    const int blocks = static_cast<int>(blocks_);
    std::vector<double> lost(blocks_ * BLOCK), log_sum(x_.rows), gained(x_.rows), divergence(x_.rows);
    double entropy = 0.0;
    for (Index c = 0; c < y_.classes; ++c) {
        lost[c] = 1.0 - keep[c];
        if (gain[c] > 0.0) entropy -= gain[c] * std::log(gain[c]);
    }
    Bound out{};
    each_tile<double>(w, bias, threads, [&](const Tile<double>& tile) {
        out.loss += over_rows(tile.count, threads, [&](Index r) {
            const Index i = tile.rows[r], own = y_.label[i];
            const double mine = tile.row(r)[own / BLOCK * tile.stride + own % BLOCK];
            const double wanted = k.weigh(tile.row(r), tile.stride, blocks, gain);
            log_sum[i] = k.shares(tile.row(r), tile.stride, blocks);
            const double f = gained[i] = std::max(k.weigh(tile.row(r), tile.stride, blocks, lost.data()), 0.0);
            const double left = f < 1.0 ? -(1.0 - f) * std::log1p(-f) : 0.0;
            divergence[i] = weight(i) * (left + (f > 0.0 ? f * (log_sum[i] - wanted - entropy) : 0.0));
            return weight(i) * (log_sum[i] - mine);
        });
    });
    out.divergence = added(divergence);
    std::vector<double> squares(blocks_);
    parallel_for(blocks_, threads, [&](Index b) {
        const float* mine = w + b * each();
        std::vector<double> g(columns_ * BLOCK);
        double z[BLOCK];
        for (const Index i : rows_) {
            const SparseRow x = at(i, true);
            k.logits_exact(x, mine, bias + b * BLOCK, z);
            k.moved(z, log_sum[i], weight(i), keep + b * BLOCK, gain + b * BLOCK, gained[i]);
            if (y_.label[i] / BLOCK == b) z[y_.label[i] % BLOCK] -= weight(i);
            k.add_exact(x, z, g.data());
        }
        double sum = 0.0;
        for (Index j = 0; j < columns_ * BLOCK; ++j) {
            const double pulled = g[j] + penalty * static_cast<double>(mine[j]);
            sum += pulled * pulled;
        }
        squares[b] = sum;
    });
    out.square = added(squares);
    return out;
}

void ClassBlocks::logits(const float* w, const double* bias, double* out, int threads) const {
    parallel_for(blocks_, threads, [&](Index b) {
        double z[BLOCK];
        for (Index i = 0; i < x_.rows; ++i) {
            block_kernels().logits_exact(at(i, true), w + b * each(), bias + b * BLOCK, z);
            const Index some = std::min<Index>(BLOCK, y_.classes - b * BLOCK);
            for (Index c = 0; c < some; ++c) out[(b * BLOCK + c) * x_.rows + i] = z[c];
        }
    });
}

// The nearest number with a mantissa of eight bits, of equally near ones the even; x is finite.
static std::uint16_t upper_half(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void ClassBlocks::take_curvature(const float* w, double penalty, std::uint16_t* inverse, int threads) const {
    const BlockKernels& k = block_kernels();
    const int blocks = static_cast<int>(blocks_);
    const Index count = columns_ * BLOCK;
    const std::vector<float> bias = intercepts(w);
    std::vector<float> log_sum(x_.rows);
    each_tile<float>(w, bias.data(), threads, [&](const Tile<float>& tile) {
        over_rows(tile.count, threads, [&](Index r) {
            const Index i = tile.rows[r], own = y_.label[i];
            const double mine = static_cast<double>(tile.block(own / BLOCK)[r * BLOCK + own % BLOCK]);
            return log_sum[i] = static_cast<float>(mine + k.residual(tile.row(r), tile.stride, blocks, own, 1.0f));
        });
    });
    parallel_for(blocks_, threads, [&](Index b) {
        std::vector<float> sum(each()), squares;
        float z[BLOCK];
        for (const Index i : rows_) {
            SparseRow row = at(i, false);
            k.logits(row, w + b * each(), &bias[b * BLOCK], z);
            k.spread(z, log_sum[i], static_cast<float>(weight(i)));
            squares.resize(row.count);
            for (Index e = 0; e < row.count; ++e) squares[e] = row.values[e] * row.values[e];
            row.values = squares.data();
            k.add(row, z, sum.data());
            for (int c = 0; c < BLOCK; ++c) sum[count + c] += z[c];
        }
        std::uint16_t* out = inverse + b * each();
        for (Index i = 0; i < count; ++i) out[i] = upper_half(1.0f / (sum[i] + static_cast<float>(penalty)));
        for (Index i = count; i < each(); ++i) out[i] = upper_half(sum[i] > FLAT ? 1.0f / sum[i] : 0.0f);
    });
}

std::vector<float> ClassBlocks::intercepts(const float* w) const {
    std::vector<float> bias;
    for (Index b = 0; b < blocks_; ++b) bias.insert(bias.end(), w + (b + 1) * each() - BLOCK, w + (b + 1) * each());
    return bias;
}

BlockStep ClassBlocks::part(const BlockStep& s, Index b) const {
    const Index from = b * each();
    return {s.gradient + from, s.before + from, s.inverse + from, s.direction + from, s.length};
}

void ClassBlocks::products(const BlockStep& s, double* sums, int threads) const {
    std::vector<double> parts(blocks_ * 4);
    parallel_for(blocks_, threads, [&](Index b) { block_kernels().products(part(s, b), each(), &parts[b * 4]); });
    std::fill(sums, sums + 4, 0.0);
    for (Index i = 0; i < blocks_ * 4; ++i) sums[i % 4] += parts[i];
}

double ClassBlocks::direct(const BlockStep& s, float of_gradient, float of_change, float of_step, int threads) const {
    std::vector<double> parts(blocks_);
    parallel_for(blocks_, threads, [&](Index b) {
        parts[b] = block_kernels().direct(part(s, b), each(), of_gradient, of_change, of_step);
    });
    return added(parts);
}

double ClassBlocks::add_scaled(float* a, const std::uint16_t* b, float factor, int threads) const {
    std::vector<double> parts(blocks_);
    parallel_for(blocks_, threads, [&](Index k) {
        parts[k] = block_kernels().add_halves(a + k * each(), b + k * each(), factor, each());
    });
    return added(parts);
}

}  // namespace luce
