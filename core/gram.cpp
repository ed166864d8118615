#include "gram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "chunks.h"
#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index PANEL = 128;  // rows that are summed at a time
constexpr Index STEP = 64;    // columns that Cholesky works on at a time

// A band of rows of the lower triangle of X' diag(w) X, from row `begin` to `end`.
class Band {
public:
    Band(Index begin, Index end) : begin_(begin), end_(end), blocks_(stripes_ * groups_ * block_) {}

    // Adds rows [first, last) of X; weigh(first, count, w) gives w. While a panel of X is at hand all of the band is
    // summed: right sides stay in the nearest cache, X is read once a band. x is padded so far that a stripe may read
    // beyond the columns.
    template <class Weigh>
    void add(const float* x, Index first, Index last, Index padded, const Weigh& weigh, Sums sums) {
        const auto outer = sums == Sums::single ? kernels().outer : kernels().outer_double;
        float w[PANEL];
        for (Index r = first; r < last; r += PANEL) {
            const Index n = std::min(PANEL, last - r);
            weigh(r, n, w);
            for (Index g = 0; g < groups_; ++g)
                for (Index s = 0; s < stripes_; ++s) {
                    const Index i = begin_ + s * left_;
                    if (g * right_ > std::min(i + left_, end_) - 1) continue;  // above the diagonal
                    const float* own = x + r * padded;
                    outer(w, own + i, own + g * right_, n, padded, &blocks_[(s * groups_ + g) * block_]);
                }
        }
    }
    void add(const Band& other) {
        for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i] += other.blocks_[i];
    }
    void write(double* gram, Index stride) const {
        for (Index i = begin_; i < end_; ++i)
            for (Index j = 0; j <= i; ++j) {
                const Index s = (i - begin_) / left_, a = (i - begin_) % left_;
                gram[i * stride + j] = blocks_[(s * groups_ + j / right_) * block_ + a * right_ + j % right_];
            }
    }

private:
    Index begin_, end_, left_ = kernels().left, right_ = kernels().right, block_ = left_ * right_;
    Index groups_ = (end_ - 1) / right_ + 1, stripes_ = (end_ - begin_ + left_ - 1) / left_;
    std::vector<double> blocks_;
};

// The lower triangles X' diag(w_k) X for k < count, one after the other. Bands are high, so that X is read seldom;
// where they are few, some threads share the rows of each.
template <class Weigh, class Target>
void one_by_one(const float* x, Index rows, Index size, Index padded, Index count, const Weigh& weigh, Sums sums,
                const Target& target, Index target_stride, int threads) {
    const Index left = kernels().left, stripes = (size + left - 1) / left, each = (stripes + 15) / 16;
    const Index height = (stripes + each - 1) / each * left, bands = count * each;
    const Index parts = std::min<Index>((15 + bands) / bands, (rows + PANEL - 1) / PANEL);
    const Index share = (rows / PANEL + parts) / parts * PANEL;
    const auto band_of = [&](Index b) {
        const Index begin = (each - 1 - b / count) * height;  // long ones first, so that threads end together
        return Band(begin, std::min(size, begin + height));
    };
    const auto sum = [&](Index b, Index part) {
        Band band = band_of(b);
        const auto weighed = [&](Index first, Index n, float* w) { weigh(b % count, first, n, w); };
        band.add(x, std::min(rows, part * share), std::min(rows, (part + 1) * share), padded, weighed, sums);
        return band;
    };
    if (parts <= 1)
        return parallel_for(bands, threads, [&](Index b) { sum(b, 0).write(target(b % count), target_stride); });
    std::vector<Band> kept(bands * parts, Band(0, 0));
    parallel_for(bands * parts, threads, [&](Index item) { kept[item] = sum(item / parts, item % parts); });
    parallel_for(bands, 1, [&](Index b) {
        for (Index part = 1; part < parts; ++part) kept[b * parts].add(kept[b * parts + part]);
        kept[b * parts].write(target(b % count), target_stride);
    });
}

// Numbers that a Band multiplies for one triangle of this size and row, whole registers at a time.
double multiplied(Index size) {
    const Index left = kernels().left, right = kernels().right;
    double blocks = 0.0;
    for (Index i = 0; i < size; i += left) blocks += static_cast<double>((std::min(i + left, size) - 1) / right + 1);
    return blocks * static_cast<double>(left * right);
}

// Many triangles at once, X' diag(w_k) X for k < count, in float: the weights (count x rows) times the products x_i
// x_j, j <= i (rows x size (size + 1) / 2). Of few columns one triangle leaves most of the registers empty.
class Products {
public:
    Products(const float* x, Index rows, Index size, Index padded, Index count)
        : x_(x), rows_(rows), size_(size), padded_(padded), count_(count), terms_(size * (size + 1) / 2) {
        groups_ = (terms_ + right_ - 1) / right_, stripes_ = (count + left_ - 1) / left_;
        high_ = std::min<Index>(stripes_, 8);  // stripes of an item; and groups of one: enough items for some threads
        const Index bands = (stripes_ + high_ - 1) / high_, parts = (8 + bands - 1) / bands;
        wide_ = std::clamp<Index>((groups_ + parts - 1) / parts, 1, 16);
    }

    bool pay() const {
        const double whole = static_cast<double>(stripes_ * left_ * groups_ * right_);
        return 1.2 * whole < static_cast<double>(count_) * multiplied(size_);
    }

    // weigh(k, first, n, w) gives the weights of rows from `first`; target(k) is where triangle k begins.
    template <class Weigh, class Target>
    void run(const Weigh& weigh, const Target& target, Index target_stride, int threads) const {
        const Index bands = (stripes_ + high_ - 1) / high_, parts = (groups_ + wide_ - 1) / wide_;
        parallel_for(bands * parts, threads, [&](Index item) {
            const Index s = item / parts * high_, g = item % parts * wide_;
            sum(s, std::min(stripes_, s + high_), g, std::min(groups_, g + wide_), weigh, target, target_stride);
        });
    }

private:
    template <class Weigh, class Target>
    void sum(Index stripe, Index stripe_end, Index group, Index group_end, const Weigh& weigh, const Target& target,
             Index target_stride) const {
        const Index high = stripe_end - stripe, wide = group_end - group, block = left_ * right_;
        const Index first = group * right_, end = std::min(terms_, group_end * right_);  // terms
        const Index k = stripe * left_, k_end = std::min(count_, stripe_end * left_);
        const Index before = size_, after = before + wide * right_ + size_ + 8;  // products beyond both ends are let be
        const Index stride = after + high * left_;
        std::vector<float> panel(PANEL * stride), ones(PANEL, 1.0f);
        std::vector<double> sums(high * wide * block);
        Index low = 0;
        while ((low + 1) * (low + 2) / 2 <= first) ++low;
        float w[PANEL];
        for (Index r = 0; r < rows_; r += PANEL) {
            const Index n = std::min(PANEL, rows_ - r);
            for (Index i = 0; i < n; ++i)
                kernels().products(x_ + (r + i) * padded_, low, end, &panel[i * stride + before] - first);
            for (Index q = k; q < k_end; ++q) {
                weigh(q, r, n, w);
                for (Index i = 0; i < n; ++i) panel[i * stride + after + q - k] = w[i];
            }
            for (Index g = 0; g < wide; ++g)
                for (Index s = 0; s < high; ++s)
                    kernels().outer(ones.data(), &panel[after + s * left_], &panel[before + g * right_], n, stride,
                                    &sums[(s * wide + g) * block]);
        }
        for (Index q = k; q < k_end; ++q) {
            const double* own = &sums[((q - k) / left_ * wide) * block + (q - k) % left_ * right_];
            double* to = target(q);
            for (Index i = low, at = low * (low + 1) / 2; at < end; at += ++i)
                for (Index j = std::max<Index>(first - at, 0); j <= i && at + j < end; ++j)
                    to[i * target_stride + j] = own[(at + j - first) / right_ * block + (at + j - first) % right_];
        }
    }

    const float* x_;
    Index rows_, size_, padded_, count_, terms_;
    Index left_ = kernels().left, right_ = kernels().right, groups_, stripes_, high_, wide_;
};

// The lower triangles X' diag(w_k) X for k < count, of which target(k) is the beginning.
template <class Weigh, class Target>
void grams(const float* x, Index rows, Index size, Index padded, Index count, const Weigh& weigh, Sums sums,
           const Target& target, Index target_stride, int threads) {
    const Products products(x, rows, size, padded, count);
    if (sums == Sums::single && products.pay()) return products.run(weigh, target, target_stride, threads);
    one_by_one(x, rows, size, padded, count, weigh, sums, target, target_stride, threads);
}

// Rows [first, end) of columns [c, c + width): minus the products with the columns already done.
void subtract_done(double* a, Index n, Index first, Index end, Index c, Index width) {
    double out[16];
    for (Index i = first; i < end; i += 4)
        for (Index j = 0; j < width; j += 4) {
            if (i + 4 <= end && j + 4 <= width) {
                kernels().dots(a + i * n, n, a + (c + j) * n, n, c, out);
                for (Index p = 0; p < 4; ++p)
                    for (Index q = 0; q < 4; ++q) a[(i + p) * n + c + j + q] -= out[p * 4 + q];
                continue;
            }
            for (Index p = i; p < end && p < i + 4; ++p)
                for (Index q = j; q < width && q < j + 4; ++q)
                    a[p * n + c + q] -= kernels().dot(a + p * n, a + (c + q) * n, c);
        }
}

// Relative to its diagonal, what a matrix so summed says of a direction is noise below about this much.
constexpr double noise_of(Sums sums) { return sums == Sums::single ? 1e-6 : 1e-12; }
// A pivot of less than a tenth of that is what rounding has left of nothing: it is raised to this much of its diagonal,
// and the column below it is 0. The factor then belongs to a matrix that is stiffer there, which is all that a
// preconditioner needs.
constexpr double RAISED_PIVOT = 1e-2;

// A Cholesky factor in the making, in place of the lower triangle of a.
struct Factor {
    double* a;
    Index n;
    double noise, least = 1.0;          // least: the least pivot so far, of its diagonal
    std::vector<double> most, inverse;  // no number of a row is larger than the root of its diagonal; 1 over each pivot

    Factor(double* a_, Index n_, double noise_) : a(a_), n(n_), noise(noise_), most(n_), inverse(n_) {
        for (Index i = 0; i < n; ++i) most[i] = std::sqrt(a[i * n + i] *= 1.0 + noise);
    }
    // Columns [c, end) of row i, whose products with the columns before c are already subtracted. Where rounding has
    // made a number too large, it would grow from column to column without end.
    void row(Index i, Index c, Index end) {
        double* const own = a + i * n;
        for (Index j = c; j < end; ++j) {
            const double value = (own[j] - kernels().dot(own + c, a + j * n + c, j - c)) * inverse[j];
            own[j] = std::clamp(value, -most[i], most[i]);
        }
    }
    // The square at (c, c).
    void square(Index c, Index width) {
        for (Index i = c; i < c + width; ++i) {
            row(i, c, i);
            double* const own = a + i * n;
            const double diagonal = most[i] * most[i], pivot = own[i] - kernels().dot(own + c, own + c, i - c);
            const bool enough = pivot > 0.1 * noise * diagonal + 1e-300;
            if (!(pivot >= least * diagonal)) least = pivot / diagonal;
            own[i] = std::sqrt(enough ? pivot : RAISED_PIVOT * diagonal + 1e-300);
            inverse[i] = enough ? 1.0 / own[i] : 0.0;
        }
    }
};

// In place, STEP columns at a time; below the square, groups of rows are independent of each other. The least pivot, of
// its diagonal.
double cholesky(double* a, Index n, double noise, int threads) {
    Factor factor(a, n, noise);
    for (Index c = 0; c < n; c += STEP) {
        const Index width = n - c < STEP ? n - c : STEP;
        subtract_done(a, n, c, c + width, c, width);
        factor.square(c, width);
        const Index first = c + width, groups = (n - first + STEP - 1) / STEP;
        parallel_for(groups, n < 256 ? 1 : threads, [&](Index g) {
            const Index begin = first + g * STEP, end = begin + STEP < n ? begin + STEP : n;
            subtract_done(a, n, begin, end, c, width);
            for (Index i = begin; i < end; ++i) factor.row(i, c, c + width);
        });
    }
    return factor.least;
}

// The lower triangle of sum_i w_i C'(diag p_i - p_i p_i')C kron x_i x_i', m x m blocks of this size: C = [I; -1'], p_i
// the shares of m classes and of the last.
void coupled_blocks(const float* x, Index rows, Index size, Index padded, const double* shares, const double* last,
                    const double* weights, Index m, Sums sums, double* out, int threads) {
    const Index side = m * size;
    std::vector<Index> a_of, b_of;
    for (Index a = 0; a < m; ++a)
        for (Index b = 0; b <= a; ++b) a_of.push_back(a), b_of.push_back(b);
    const auto weigh = [&](Index pair, Index first, Index n, float* w) {
        const double *pa = shares + a_of[pair] * rows + first, *pb = shares + b_of[pair] * rows + first;
        kernels().coupling(weights + first, pa, pb, last + first, n, w);
    };
    const auto target = [&](Index pair) { return out + a_of[pair] * size * side + b_of[pair] * size; };
    grams(x, rows, size, padded, m * (m + 1) / 2, weigh, sums, target, side, threads);
    for (Index a = 0; a < m; ++a)
        for (Index b = 0; b < a; ++b) {
            double* block = out + a * size * side + b * size;
            for (Index i = 0; i < size; ++i)
                for (Index j = 0; j < i; ++j) block[j * side + i] = block[i * side + j];
        }
}

template <class T>
double cell(const View<T>& x, Index row, Index column) {
    return static_cast<double>(x.data[row * x.row_stride + column * x.column_stride]);
}

double dense_cell(const Features& x, Index row, Index column) {
    if (x.dense8.data != nullptr) return cell(x.dense8, row, column);
    if (x.dense16.data != nullptr) return cell(x.dense16, row, column);
    return x.dense32.data != nullptr ? cell(x.dense32, row, column) : cell(x.dense64, row, column);
}

// How many threads a look at every number is worth.
int worth(int threads, const Features& x) { return x.rows * (x.dense_columns + 1) < 200'000 ? 1 : threads; }

// The mixing steps of splitmix64 (Steele, Lea and Flood, OOPSLA 2014, section 5).
std::uint64_t mixed(std::uint64_t key) {
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
    return key ^ (key >> 31);
}

}  // namespace

void submatrix(const Features& x, const Index* rows, Index row_count, const Index* columns, Index column_count,
               const double* centre, const double* spread, Index padded, float* out, int threads) {
    Index dense = 0;
    while (dense < column_count && columns[dense] < x.dense_columns) ++dense;
    std::vector<Index> place(x.sparse.columns, -1);
    for (Index j = dense; j < column_count; ++j) place[columns[j] - x.dense_columns] = j;
    std::vector<double> scale(x.columns());
    for (Index j = 0; j < x.columns(); ++j) scale[j] = std::min(1.0 / spread[j], std::numeric_limits<double>::max());
    const Index each = PANEL;
    parallel_for((row_count + each - 1) / each, row_count * padded < 200'000 ? 1 : threads, [&](Index g) {
        const Index first = g * each, end = std::min(row_count, first + each);
        std::fill(out + first * padded, out + end * padded, 0.0f);
        for (Index i = first; i < end; ++i) {
            float* row = out + i * padded;
            if (dense == x.dense_columns)
                dense_row(x, rows[i],
                          [&](Index j, double value) { row[j] = static_cast<float>((value - centre[j]) * scale[j]); });
            else
                for (Index j = 0; j < dense; ++j)
                    row[j] = static_cast<float>((dense_cell(x, rows[i], columns[j]) - centre[j]) * scale[columns[j]]);
            row[column_count] = 1.0f;
            sparse_cells(x.sparse, rows[i], [&](Index column, double value) {
                if (place[column] >= 0)
                    row[place[column]] += static_cast<float>(value * scale[x.dense_columns + column]);
            });
        }
    });
}

void column_sums(const Features& x, Index all, double* parts, int threads) {
    const Index p = x.dense_columns;
    const Chunks chunks(x.rows, x.columns(), all);
    each_chunk(chunks, p, worth(threads, x), parts, [&](Index c, double* sums) {
        for (Index i = chunks.first_row(c); i < chunks.end_row(c); ++i)
            dense_row(x, i, [&](Index j, double value) { sums[j] += value; });
    });
}

void column_squares(const Features& x, Index all, const double* centre, double* parts, int threads) {
    const Index p = x.dense_columns;
    const Chunks chunks(x.rows, x.columns(), all);
    each_chunk(chunks, x.columns(), worth(threads, x), parts, [&](Index c, double* sums) {
        for (Index i = chunks.first_row(c); i < chunks.end_row(c); ++i) {
            dense_row(x, i, [&](Index j, double value) { sums[j] += (value - centre[j]) * (value - centre[j]); });
            sparse_cells(x.sparse, i, [&](Index j, double value) { sums[p + j] += value * value; });
        }
    });
}

void row_energy(const Features& x, const double* centre, const double* variance, double* energy, int threads) {
    const Index p = x.dense_columns;
    std::vector<double> scale(x.columns());
    double varying = 0.0;
    for (Index j = 0; j < x.columns(); ++j) {
        varying += variance[j] > 0.0 ? 1.0 : 0.0;
        scale[j] = variance[j] > 0.0 ? 1.0 / variance[j] : 0.0;
    }
    const Chunks chunks(x.rows, 1);
    parallel_for(chunks.count, worth(threads, x), [&](Index c) {
        for (Index i = chunks.first_row(c); i < chunks.end_row(c); ++i) {
            double sum = 0.0;
            dense_row(x, i,
                      [&](Index j, double value) { sum += (value - centre[j]) * (value - centre[j]) * scale[j]; });
            sparse_cells(x.sparse, i, [&](Index j, double value) { sum += value * value * scale[p + j]; });
            energy[i] = varying > 0.0 ? sum / varying : 1.0;
        }
    });
}

void row_hash(const Features& x, std::uint64_t seed, std::uint64_t* hash, int threads) {
    std::vector<std::uint64_t> odd(x.columns());
    for (std::size_t j = 0; j < odd.size(); ++j) odd[j] = mixed(seed + j * 0x9E3779B97F4A7C15u) | 1;
    const auto term = [&](Index j, double value) {
        std::uint64_t bits;
        value += 0.0;  // -0 becomes 0
        std::memcpy(&bits, &value, sizeof bits);
        return (bits ^ (bits >> 32)) * odd[j];
    };
    const Index each = 1024;
    parallel_for((x.rows + each - 1) / each, worth(threads, x), [&](Index g) {
        for (Index i = g * each; i < std::min(x.rows, (g + 1) * each); ++i) {
            std::uint64_t sum = seed;
            dense_row(x, i, [&](Index j, double value) { sum += term(j, value); });
            sparse_cells(x.sparse, i, [&](Index j, double value) { sum += term(x.dense_columns + j, value); });
            hash[i] = mixed(sum);
        }
    });
}

void weighted_squares(const Features& x, const Index* rows, Index row_count, const double* weights, Index blocks,
                      double* out, int threads) {
    const Index columns = x.dense_columns + x.sparse.columns;
    parallel_for(blocks, threads, [&](Index m) {
        double* sum = out + m * columns;
        const double* w = weights + m * row_count;
        std::fill(sum, sum + columns, 0.0);
        for (Index i = 0; i < row_count; ++i) {
            for (Index j = 0; j < x.dense_columns; ++j) {
                const double cell = dense_cell(x, rows[i], j);
                sum[j] += w[i] * cell * cell;
            }
            sparse_cells(x.sparse, rows[i],
                         [&](Index column, double value) { sum[x.dense_columns + column] += w[i] * value * value; });
        }
    });
}

double curvature_factors(const float* x, Index rows, Index size, Index padded, const double* weights, Index blocks,
                         const double* ridge, Sums sums, double* factors, int threads) {
    const auto weigh = [&](Index k, Index first, Index n, float* w) {
        for (Index r = 0; r < n; ++r) w[r] = static_cast<float>(weights[k * rows + first + r]);
    };
    const auto target = [&](Index k) { return factors + k * size * size; };
    grams(x, rows, size, padded, blocks, weigh, sums, target, size, threads);
    std::vector<double> least(blocks);
    parallel_for(blocks, threads, [&](Index k) {
        double* factor = factors + k * size * size;
        for (Index j = 0; j < size; ++j) factor[j * size + j] += ridge[j];
        least[k] = cholesky(factor, size, noise_of(sums), threads);
    });
    return *std::min_element(least.begin(), least.end());
}

double coupled_factor(const float* x, Index rows, Index size, Index padded, const double* shares, const double* weights,
                      int classes, const double* ridge, Sums sums, double* factor, int threads) {
    const Index m = classes - 1, side = m * size;
    coupled_blocks(x, rows, size, padded, shares, shares + m * rows, weights, m, sums, factor, threads);
    for (Index a = 0; a < m; ++a)
        for (Index b = 0; b <= a; ++b)
            for (Index i = 0; i < size; ++i)
                factor[(a * size + i) * side + b * size + i] += a == b ? 2.0 * ridge[i] : ridge[i];
    return cholesky(factor, side, noise_of(sums), threads);
}

void whole_curvature(const float* x, Index rows, Index size, Index padded, const double* shares, const double* weights,
                     int outputs, double* curvature, int threads) {
    const Index side = outputs * size;
    const std::vector<double> none(rows);
    std::vector<double> blocks(side * side);
    coupled_blocks(x, rows, size, padded, shares, none.data(), weights, outputs, Sums::single, blocks.data(), threads);
    const auto place = [&](Index at) { return at % size * outputs + at / size; };
    for (Index i = 0; i < side; ++i)
        for (Index j = 0; j <= i; ++j)
            curvature[place(i) * side + place(j)] = curvature[place(j) * side + place(i)] = blocks[i * side + j];
}

void solve_factors(const double* factors, Index count, Index size, double* right, Index blocks, int threads) {
    // Right sides that share a factor go through it together: each of its rows is read once for all of them.
    const Index each = count == 1 ? 8 : 1;
    const double work = static_cast<double>(blocks) * static_cast<double>(size * size);
    parallel_for((blocks + each - 1) / each, work < 4e5 ? 1 : threads, [&](Index g) {
        const double* l = factors + (count == 1 ? 0 : g) * size * size;
        const Index end = (g + 1) * each < blocks ? (g + 1) * each : blocks;
        for (Index i = 0; i < size; ++i)
            for (Index k = g * each; k < end; ++k) {
                double* b = right + k * size;
                b[i] = (b[i] - kernels().dot(l + i * size, b, i)) / l[i * size + i];
            }
        for (Index i = size - 1; i >= 0; --i)
            for (Index k = g * each; k < end; ++k) {
                double* b = right + k * size;
                b[i] /= l[i * size + i];
                kernels().subtract_scaled(b, l + i * size, b[i], i);
            }
    });
}

}  // namespace luce
