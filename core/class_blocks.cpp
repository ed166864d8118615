#include "class_blocks.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "parallel.h"
#include "symmetric.h"

namespace luce {
namespace {

constexpr Index LEAST_ROWS = 256, MOST_ROWS = 8192;  // of a tile
constexpr Index APART = 80;  // numbers between the blocks of a tile, so that a row's pieces do not share cache sets
constexpr Index MOST_LOOKED_AT = 1 << 17;  // rows, for the curvature
constexpr Index GROUP = 64;                // rows that a thread takes at a time

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
    const std::unique_ptr<T[]> z(new T[blocks_ * stride]);
    for (Index first = 0; first < all; first += most) {
        const Tile<T> tile{&rows_[first], std::min(most, all - first), stride, z.get()};
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
    std::vector<float> bias;
    for (Index b = 0; b < blocks_; ++b) bias.insert(bias.end(), w + (b + 1) * each() - BLOCK, w + (b + 1) * each());
    double loss = 0.0;
    each_tile<float>(w, bias.data(), threads, [&](const Tile<float>& tile) {
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

void ClassBlocks::take_head(const std::int32_t* columns, Index count) {
    head_.assign(columns, columns + count);
    std::vector<Index> place(columns_, -1);
    for (Index h = 0; h < count; ++h) place[head_[h]] = h;
    square_.assign(columns_ + 1, 0.0);
    centre_.assign(count, 0.0);
    total_ = 0.0;
    std::vector<double> c(count * count);
    const Index step = std::max<Index>(static_cast<Index>(rows_.size()) / MOST_LOOKED_AT, 1);
    std::vector<std::pair<Index, double>> met;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
        const Index i = rows_[r];
        met.clear();
        for (Index e = x_.starts[i]; e < x_.starts[i + 1]; ++e) {
            const Index j = x_.indices[e];
            square_[j] += weight(i) * x_.value(e) * x_.value(e);
            if (place[j] >= 0) met.emplace_back(place[j], x_.value(e));
        }
        if (static_cast<Index>(r) % step != 0) continue;
        total_ += weight(i);
        for (const auto& [h, value] : met) {
            centre_[h] += weight(i) * value;
            for (const auto& [other, beside] : met) c[h * count + other] += weight(i) * value * beside;
        }
    }
    for (Index h = 0; h < count; ++h) square_[head_[h]] = 0.0;
    for (Index h = 0; h < count; ++h)
        for (Index o = 0; o < count; ++o) c[h * count + o] -= centre_[h] * centre_[o] / total_;
    for (double& mean : centre_) mean /= total_;
    spread_.assign(count, 0.0);
    if (!symmetric_eigen(c.data(), count,
                         spread_.data())) {  // never seen: then the curvature is that of a multiple of 1
        std::fill(c.begin(), c.end(), 0.0);
        for (Index h = 0; h < count; ++h) c[h * count + h] = 1.0;
    }
    axes_.assign(c.begin(), c.end());
    for (double& value : spread_) value = std::max(value, 0.0) * static_cast<double>(step);
    total_ *= static_cast<double>(step);
}

void ClassBlocks::lift(const float* gradient, const double* share, double penalty, float* lifted, int threads) const {
    const Index count = head();
    parallel_for(blocks_, threads, [&](Index b) {
        const float *g = gradient + b * each(), *slope = g + columns_ * BLOCK;
        float* out = lifted + b * (count + 1) * BLOCK;
        float* bias = out + count * BLOCK;
        std::vector<float> turned(count * BLOCK);
        for (Index h = 0; h < count; ++h)
            for (int c = 0; c < BLOCK; ++c)
                out[h * BLOCK + c] = g[head_[h] * BLOCK + c] - static_cast<float>(centre_[h]) * slope[c];
        block_kernels().turn(axes_.data(), 1, count, count, out, turned.data());
        for (Index h = 0; h < count; ++h)
            for (int c = 0; c < BLOCK; ++c)
                turned[h * BLOCK + c] /= static_cast<float>(share[b * BLOCK + c] * spread_[h] + penalty);
        block_kernels().turn(axes_.data(), count, 1, count, turned.data(), out);
        for (int c = 0; c < BLOCK; ++c) bias[c] = slope[c] / static_cast<float>(share[b * BLOCK + c] * total_);
        for (Index h = 0; h < count; ++h)
            for (int c = 0; c < BLOCK; ++c) bias[c] -= static_cast<float>(centre_[h]) * out[h * BLOCK + c];
    });
}

BlockStep ClassBlocks::part(const Step& s, Index b) const {
    const Index from = b * each();
    return {columns_ + 1,        s.gradient + from, s.before + from, s.direction + from,
            s.share + b * BLOCK, square_.data(),    s.penalty,       s.length};
}

void ClassBlocks::products(const Step& s, double* sums, int threads) const {
    std::vector<double> parts(blocks_ * 4);
    parallel_for(blocks_, threads, [&](Index b) {
        block_kernels().products(part(s, b), &parts[b * 4]);
        double curved = 0.0, mixed = 0.0;
        each_of_head([&](Index h, Index j) {
            const float *g = s.gradient + b * each() + j * BLOCK, *g0 = s.before + b * each() + j * BLOCK;
            const Index at = (b * (head() + 1) + h) * BLOCK;
            for (int c = 0; c < BLOCK; ++c) {
                const double y = static_cast<double>(g[c] - g0[c]), now = static_cast<double>(s.lifted[at + c]);
                curved += y * (now - static_cast<double>(s.lifted_before[at + c]));
                mixed += y * now;
            }
        });
        parts[b * 4 + 2] += curved;
        parts[b * 4 + 3] += mixed;
    });
    std::fill(sums, sums + 4, 0.0);
    for (Index i = 0; i < blocks_ * 4; ++i) sums[i % 4] += parts[i];
}

double ClassBlocks::direct(const Step& s, float of_gradient, float of_change, float of_step, int threads) const {
    std::vector<double> parts(blocks_);
    parallel_for(blocks_, threads, [&](Index b) {
        double slope = block_kernels().direct(part(s, b), of_gradient, of_change, of_step);
        each_of_head([&](Index h, Index j) {
            const float* g = s.gradient + b * each() + j * BLOCK;
            float* d = s.direction + b * each() + j * BLOCK;
            const Index at = (b * (head() + 1) + h) * BLOCK;
            for (int c = 0; c < BLOCK; ++c) {
                const float now = s.lifted[at + c],
                            more = of_change * (now - s.lifted_before[at + c]) - of_gradient * now;
                d[c] += more;
                slope += static_cast<double>(more) * static_cast<double>(g[c]);
            }
        });
        parts[b] = slope;
    });
    return added(parts);
}

double ClassBlocks::add_scaled(float* a, const float* b, float factor, int threads) const {
    std::vector<double> parts(blocks_);
    parallel_for(blocks_, threads, [&](Index k) {
        parts[k] = block_kernels().add_scaled(a + k * each(), b + k * each(), factor, each());
    });
    return added(parts);
}

}  // namespace luce
