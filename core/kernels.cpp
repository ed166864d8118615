// Compiled once per instruction set: LUCE_ISA names the namespace and the table.
// No standard-library templates here: a weak symbol made with wide instructions could be linked for everyone.
#include "kernels.h"
#include "intrinsics.h"

namespace luce {
namespace LUCE_ISA {

#include "dual_kernel.h"
#include "network_kernel.h"
#include "row_kernels.h"

constexpr int CLASS_BLOCK = WIDTH == 8 ? 6 : WIDTH == 4 ? 3 : 2;  // forward: CLASS_BLOCK x ROW_BLOCK accumulators
constexpr int ROW_BLOCK = 4;
constexpr int PARTS = LANES / WIDTH;  // registers that hold one set of partial sums

template <class T>
static void load_tile(const View<T>& x, Index first, int rows, double* tile) {
    const T* base = x.data + first * x.row_stride;
    for (Index j = 0; j < x.columns; ++j) {
        const T* column = base + j * x.column_stride;
        double* out = tile + j * TILE;
        if (x.row_stride == 1) {
#pragma omp simd
            for (int r = 0; r < rows; ++r) out[r] = static_cast<double>(column[r]);
        } else {
            for (int r = 0; r < rows; ++r) out[r] = static_cast<double>(column[r * x.row_stride]);
        }
        for (int r = rows; r < TILE; ++r) out[r] = 0.0;
    }
}

// Row-major input: 8 columns of a row lie in one cache line, so go along the rows in groups of 8 columns.
template <class T>
static void load_rows(const View<T>& x, Index first, int rows, double* tile) {
    if (x.column_stride != 1) return load_tile(x, first, rows, tile);
    const T* base = x.data + first * x.row_stride;
    Index j = 0;
    for (; j + 8 <= x.columns; j += 8) {
        double* out = tile + j * TILE;
        for (int r = 0; r < rows; ++r) {
            const T* p = base + r * x.row_stride + j;
            for (int c = 0; c < 8; ++c) out[c * TILE + r] = static_cast<double>(p[c]);
        }
    }
    for (; j < x.columns; ++j)
        for (int r = 0; r < rows; ++r) tile[j * TILE + r] = static_cast<double>(base[r * x.row_stride + j]);
    if (rows < TILE)
        for (Index c = 0; c < x.columns; ++c)
            for (int r = rows; r < TILE; ++r) tile[c * TILE + r] = 0.0;
}

template <int CLASSES>
static inline void forward_block(const double* tile, Index columns, const double* weights, const double* bias,
                                 int outputs, int k0, double* z) {
    for (int r0 = 0; r0 < TILE; r0 += ROW_BLOCK * WIDTH) {
        Vec acc[CLASSES][ROW_BLOCK];
#pragma GCC unroll 8
        for (int c = 0; c < CLASSES; ++c)
#pragma GCC unroll 8
            for (int v = 0; v < ROW_BLOCK; ++v) acc[c][v] = broadcast(bias ? bias[k0 + c] : 0.0);
        for (Index j = 0; j < columns; ++j) {
            const double* x = tile + j * TILE + r0;
            Vec w[CLASSES];
#pragma GCC unroll 8
            for (int c = 0; c < CLASSES; ++c) w[c] = broadcast(weights[j * outputs + k0 + c]);
#pragma GCC unroll 8
            for (int v = 0; v < ROW_BLOCK; ++v) {
                const Vec xv = load(x + v * WIDTH);
#pragma GCC unroll 8
                for (int c = 0; c < CLASSES; ++c) acc[c][v] += xv * w[c];
            }
        }
#pragma GCC unroll 8
        for (int c = 0; c < CLASSES; ++c)
#pragma GCC unroll 8
            for (int v = 0; v < ROW_BLOCK; ++v) store(z + (k0 + c) * TILE + r0 + v * WIDTH, acc[c][v]);
    }
}

static void forward(const double* tile, Index columns, const double* weights, const double* bias, int outputs,
                    double* z) {
    int k = 0;
    for (; k + CLASS_BLOCK <= outputs; k += CLASS_BLOCK)
        forward_block<CLASS_BLOCK>(tile, columns, weights, bias, outputs, k, z);
    for (; k + 2 <= outputs; k += 2) forward_block<2>(tile, columns, weights, bias, outputs, k, z);
    if (k < outputs) forward_block<1>(tile, columns, weights, bias, outputs, k, z);
}

static void forward_sparse(const Csr& x, Index first, int rows, const double* weights, int outputs, double* z,
                           double* scratch) {
    if (outputs == 1) {  // two classes: one number a column, no inner loop
        for (int r = 0; r < rows; ++r) {
            double sum = 0.0;
            for (Index e = x.starts[first + r]; e < x.starts[first + r + 1]; ++e)
                sum += x.value(e) * weights[x.indices[e]];
            z[r] += sum;
        }
        return;
    }
    for (int r = 0; r < rows; ++r) {
        for (int k = 0; k < outputs; ++k) scratch[k] = 0.0;
        for (Index e = x.starts[first + r]; e < x.starts[first + r + 1]; ++e) {
            const double* w = weights + static_cast<Index>(x.indices[e]) * outputs;
            const double v = x.value(e);
#pragma omp simd
            for (int k = 0; k < outputs; ++k) scratch[k] += v * w[k];
        }
        for (int k = 0; k < outputs; ++k) z[k * TILE + r] += scratch[k];
    }
}

// What a sweep adds up: row r of the tile goes to partial sum r % LANES, whatever the register width.
struct LaneSums {
    Vec of[PARTS] = {};
    void add(int r, Vec v) { of[r / WIDTH % PARTS] += v; }
    void to(double* sums) const {
        for (int p = 0; p < PARTS; ++p) store(sums + p * WIDTH, load(sums + p * WIDTH) + of[p]);
    }
};

static inline Vec codes(const std::int32_t* label) {
    typedef std::int32_t HalfVec __attribute__((vector_size(WIDTH * 4)));
    HalfVec v;
    __builtin_memcpy(&v, label, sizeof v);
    return __builtin_convertvector(v, Vec);
}

// Two classes: z is the logit of class 1. One exp(-|z|) gives both tails and the loss.
template <bool ALONG>
static void sweep_two(Sweep& s) {
    LaneSums loss, slope, curve;
    const double c = s.correction ? s.correction[0] : 0.0;
#pragma GCC unroll 2
    for (int r = 0; r < TILE; r += WIDTH) {
        Vec z = load(s.z + r), d = {};
        const Vec one = codes(s.label + r);
        const Vec weight = load(s.weight + r);
        if (ALONG) {
            d = load(s.direction + r);
            z += s.step * d;
        }
        const Vec e = exp_negative(z < 0.0 ? z : -z);
        const Vec inverse = 1.0 / (1.0 + e);
        const Vec small = e * inverse;  // probability of the less likely class
        const Vec v = inverse * small;
        const Vec wrong = one != 0.0 ? -z : z;  // logit of the wrong class over the true one
        const Vec miss = wrong < 0.0 ? small : inverse;
        const Vec residual = one != 0.0 ? -miss : miss;
        loss.add(r, weight * ((wrong > 0.0 ? wrong : Vec{}) + log1p_lane(e)));
        if (ALONG) {
            slope.add(r, weight * residual * d);
            curve.add(r, weight * v * d * d);
        }
        if (s.residual) store(s.residual + r, weight * (residual - v * c));
    }
    loss.to(s.loss);
    slope.to(s.slope);
    curve.to(s.curve);
}

// A few rows side by side, and for each its largest logit and what goes with it. Everything about these rows stays in
// registers, while k runs over the classes.
constexpr int STRIP = 2;  // registers

struct Peak {
    Vec top[STRIP];        // largest logit
    Vec at[STRIP];         // which class that is
    Vec direction[STRIP];  // the direction there
    Vec rest[STRIP];       // sum of exp(z_k - top) over all other classes
    Vec first[STRIP];      // sum of exp(z_k - top) (d_k - d_top)
    Vec second[STRIP];     // sum of exp(z_k - top) (d_k - d_top)^2
};

// scratch[k] = exp(z_k - top), exactly 1 at the largest class, for the rows from r on.
template <bool ALONG>
static inline void exponentials(const Sweep& s, int r, Peak& p) {
    double* e = s.scratch + r;
    for (int v = 0; v < STRIP; ++v) {
        const Vec d = ALONG ? load(s.direction + r + v * WIDTH) : Vec{};
        p.top[v] = load(s.z + r + v * WIDTH) + s.step * d;
        p.direction[v] = d;
        p.at[v] = p.rest[v] = p.first[v] = p.second[v] = Vec{};
    }
    for (int k = 1; k < s.outputs; ++k)
#pragma GCC unroll 2
        for (int v = 0; v < STRIP; ++v) {
            const Index place = static_cast<Index>(k) * TILE + r + v * WIDTH;
            const Vec d = ALONG ? load(s.direction + place) : Vec{};
            const Vec z = load(s.z + place) + s.step * d;
            const auto larger = z > p.top[v];
            p.top[v] = larger ? z : p.top[v];
            p.at[v] = larger ? broadcast(k) : p.at[v];
            if (ALONG) p.direction[v] = larger ? d : p.direction[v];
        }
    for (int k = 0; k < s.outputs; ++k)
#pragma GCC unroll 2
        for (int v = 0; v < STRIP; ++v) {
            const Index place = static_cast<Index>(k) * TILE + r + v * WIDTH;
            const Vec d = ALONG ? load(s.direction + place) : Vec{};
            const Vec x = exp_negative(load(s.z + place) + s.step * d - p.top[v]);
            store(e + static_cast<Index>(k) * TILE + v * WIDTH, x);
            p.rest[v] += p.at[v] == static_cast<double>(k) ? Vec{} : x;
            if (ALONG) {
                const Vec farther = d - p.direction[v];
                p.first[v] += x * farther;
                p.second[v] += x * farther * farther;
            }
        }
}

// The numbers of one class for each of these rows, by the row's label.
static inline Vec at_label(const double* values, const std::int32_t* label, int r) {
    Vec out;
    for (int l = 0; l < WIDTH; ++l) out[l] = values[static_cast<Index>(label[r + l]) * TILE + r + l];
    return out;
}

// scratch holds exp(z_k - top) for the rows from r on: residual = weight * (p moved by the correction - onehot(label)).
static inline void residuals(const Sweep& s, int r, const Peak& p) {
    Vec label[STRIP], weight[STRIP], inverse[STRIP], others[STRIP], shift[STRIP];
    for (int v = 0; v < STRIP; ++v) {
        const int at = r + v * WIDTH;
        label[v] = codes(s.label + at);
        weight[v] = load(s.weight + at);
        inverse[v] = 1.0 / (1.0 + p.rest[v]);
        // 1 - p_label without a subtraction from 1
        others[v] = (p.at[v] == label[v] ? p.rest[v] : 1.0 + p.rest[v] - at_label(s.scratch, s.label, at)) * inverse[v];
        shift[v] = Vec{};
    }
    if (s.correction)
        for (int k = 0; k < s.outputs; ++k)
            for (int v = 0; v < STRIP; ++v)
                shift[v] += load(s.scratch + k * TILE + r + v * WIDTH) * inverse[v] * s.correction[k];
    for (int k = 0; k < s.outputs; ++k) {
        const double c = s.correction ? s.correction[k] : 0.0;
#pragma GCC unroll 2
        for (int v = 0; v < STRIP; ++v) {
            const Index place = static_cast<Index>(k) * TILE + r + v * WIDTH;
            const Vec q = load(s.scratch + place) * inverse[v];
            const Vec plain = label[v] == static_cast<double>(k) ? -others[v] : q;
            store(s.residual + place, weight[v] * (plain - q * (c - shift[v])));
        }
    }
}

template <bool ALONG>
static void sweep_many(Sweep& s) {
    LaneSums loss, slope, curve;
    for (int r = 0; r < TILE; r += STRIP * WIDTH) {
        Peak p;
        exponentials<ALONG>(s, r, p);
#pragma GCC unroll 2
        for (int v = 0; v < STRIP; ++v) {
            const int at = r + v * WIDTH;
            const Vec weight = load(s.weight + at);
            Vec zy = at_label(s.z, s.label, at);
            if (ALONG) {
                const Vec dy = at_label(s.direction, s.label, at);
                const Vec inverse = 1.0 / (1.0 + p.rest[v]);
                const Vec mean = p.first[v] * inverse;
                zy += s.step * dy;
                slope.add(at, weight * (mean + (p.direction[v] - dy)));
                curve.add(at, weight * (p.second[v] * inverse - mean * mean));
            }
            loss.add(at, weight * (log1p_lane(p.rest[v]) + (p.top[v] - zy)));
        }
        if (s.residual) residuals(s, r, p);
    }
    loss.to(s.loss);
    slope.to(s.slope);
    curve.to(s.curve);
}

static void sweep(Sweep& s) {
    if (s.outputs == 1)
        s.direction ? sweep_two<true>(s) : sweep_two<false>(s);
    else
        s.direction ? sweep_many<true>(s) : sweep_many<false>(s);
}

static void curvature(Sweep& s) {
    if (s.outputs == 1) {
        for (int r = 0; r < TILE; r += WIDTH) {
            const Vec z = load(s.z + r);
            const Vec e = exp_negative(z < 0.0 ? z : -z);
            const Vec inverse = 1.0 / (1.0 + e);
            store(s.residual + r, load(s.weight + r) * (e * inverse * inverse) * load(s.direction + r));
        }
        return;
    }
    for (int r = 0; r < TILE; r += STRIP * WIDTH) {
        Peak p;
        exponentials<false>(s, r, p);
        for (int v = 0; v < STRIP; ++v) {
            const int at = r + v * WIDTH;
            const Vec inverse = 1.0 / (1.0 + p.rest[v]);
            Vec mean = {};
            for (int k = 0; k < s.outputs; ++k)
                mean += load(s.scratch + k * TILE + at) * inverse * load(s.direction + k * TILE + at);
            for (int k = 0; k < s.outputs; ++k) {
                const Vec q = load(s.scratch + k * TILE + at) * inverse;
                store(s.residual + k * TILE + at, load(s.weight + at) * q * (load(s.direction + k * TILE + at) - mean));
            }
        }
    }
}

template <int COLUMNS, int CLASSES>
static inline void backward_block(const double* tile, const double* residual, int outputs, double* sums) {
    Vec acc[COLUMNS][CLASSES][PARTS];
#pragma GCC unroll 8
    for (int j = 0; j < COLUMNS; ++j)
#pragma GCC unroll 8
        for (int k = 0; k < CLASSES; ++k)
#pragma GCC unroll 8
            for (int p = 0; p < PARTS; ++p) acc[j][k][p] = load(sums + (j * outputs + k) * LANES + p * WIDTH);
    for (int r = 0; r < TILE; r += LANES)
#pragma GCC unroll 8
        for (int p = 0; p < PARTS; ++p) {
            Vec x[COLUMNS];
#pragma GCC unroll 8
            for (int j = 0; j < COLUMNS; ++j) x[j] = load(tile + j * TILE + r + p * WIDTH);
#pragma GCC unroll 8
            for (int k = 0; k < CLASSES; ++k) {
                const Vec g = load(residual + k * TILE + r + p * WIDTH);
#pragma GCC unroll 8
                for (int j = 0; j < COLUMNS; ++j) acc[j][k][p] += x[j] * g;
            }
        }
#pragma GCC unroll 8
    for (int j = 0; j < COLUMNS; ++j)
#pragma GCC unroll 8
        for (int k = 0; k < CLASSES; ++k)
#pragma GCC unroll 8
            for (int p = 0; p < PARTS; ++p) store(sums + (j * outputs + k) * LANES + p * WIDTH, acc[j][k][p]);
}

template <int COLUMNS>
static inline void backward_columns(const double* tile, const double* residual, int outputs, double* sums) {
    int k = 0;
    for (; k + 4 <= outputs; k += 4) backward_block<COLUMNS, 4>(tile, residual + k * TILE, outputs, sums + k * LANES);
    if (k + 2 <= outputs) {
        backward_block<COLUMNS, 2>(tile, residual + k * TILE, outputs, sums + k * LANES);
        k += 2;
    }
    if (k < outputs) backward_block<COLUMNS, 1>(tile, residual + k * TILE, outputs, sums + k * LANES);
}

static void backward(const double* tile, Index columns, const double* residual, int outputs, double* sums) {
    constexpr int BLOCK = WIDTH == 8 ? 4 : 2;
    Index j = 0;
    for (; j + BLOCK <= columns; j += BLOCK)
        backward_columns<BLOCK>(tile + j * TILE, residual, outputs, sums + j * outputs * LANES);
    for (; j < columns; ++j) backward_columns<1>(tile + j * TILE, residual, outputs, sums + j * outputs * LANES);
}

static void backward_sparse(const Csr& x, Index first, int rows, const double* residual, int outputs, double* gradient,
                            double* scratch) {
    if (outputs == 1) {
        for (int r = 0; r < rows; ++r)
            for (Index e = x.starts[first + r]; e < x.starts[first + r + 1]; ++e)
                gradient[x.indices[e]] += x.value(e) * residual[r];
        return;
    }
    for (int r = 0; r < rows; ++r) {
        for (int k = 0; k < outputs; ++k) scratch[k] = residual[k * TILE + r];
        for (Index e = x.starts[first + r]; e < x.starts[first + r + 1]; ++e) {
            double* g = gradient + static_cast<Index>(x.indices[e]) * outputs;
            const double v = x.value(e);
#pragma omp simd
            for (int k = 0; k < outputs; ++k) g[k] += v * scratch[k];
        }
    }
}

typedef double Four __attribute__((vector_size(32)));

LUCE_INLINE Four load_four(const double* p) {
    Four v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

// One group of at most 4 * GROUPS classes.
template <int GROUPS, class T>
static void column_group(const Index* starts, Index first, Index end, const std::int32_t* rows, const T* values,
                         const double* a, Index width, double* z) {
    for (Index j = first; j < end; ++j) {
        Four sum[GROUPS] = {};
        for (Index e = starts[j]; e < starts[j + 1]; ++e) {
            const double* from = a + rows[e] * width;
            const double value = static_cast<double>(values[e]);
#pragma GCC unroll 8
            for (int g = 0; g < GROUPS; ++g) sum[g] += value * load_four(from + 4 * g);
        }
        for (Index e = starts[j]; e < starts[j + 1]; ++e) {
            double* to = z + rows[e] * width;
            const double value = static_cast<double>(values[e]);
#pragma GCC unroll 8
            for (int g = 0; g < GROUPS; ++g) {
                const Four now = load_four(to + 4 * g) + value * sum[g];
                __builtin_memcpy(to + 4 * g, &now, sizeof now);
            }
        }
    }
}

template <class T>
static void columns_alone(const Index* starts, Index first, Index end, const std::int32_t* rows, const T* values,
                          const double* a, double* z) {
    for (Index j = first; j < end; ++j) {
        double sum = 0.0;
        for (Index e = starts[j]; e < starts[j + 1]; ++e) sum += static_cast<double>(values[e]) * a[rows[e]];
        for (Index e = starts[j]; e < starts[j + 1]; ++e) z[rows[e]] += static_cast<double>(values[e]) * sum;
    }
}

template <class T>
static void columns_of(const Index* starts, Index first, Index end, const std::int32_t* rows, const T* values,
                       const double* a, Index width, double* z) {
    if (width == 1) return columns_alone(starts, first, end, rows, values, a, z);
    Index k = 0;
    for (; k + 20 <= width; k += 20) column_group<5>(starts, first, end, rows, values, a + k, width, z + k);
    for (; k + 12 <= width; k += 12) column_group<3>(starts, first, end, rows, values, a + k, width, z + k);
    for (; k + 8 <= width; k += 8) column_group<2>(starts, first, end, rows, values, a + k, width, z + k);
    for (; k < width; k += 4) column_group<1>(starts, first, end, rows, values, a + k, width, z + k);
}

typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));

// `parts` registers of eight classes from the first on
template <int parts>
static inline void gather_group(const std::int32_t* indices, const float* values, Index count, const float* w,
                                Index width, float* z) {
    Eight sum[parts] = {};
    for (Index e = 0; e < count; ++e) {
        if (e + 8 < count) {
            const float* ahead = w + static_cast<Index>(indices[e + 8]) * width;
#pragma GCC unroll 4
            for (int p = 0; p < parts; p += 2) __builtin_prefetch(ahead + 8 * p);
        }
        const float* row = w + static_cast<Index>(indices[e]) * width;
        const Eight value = values[e] - Eight{};
#pragma GCC unroll 8
        for (int p = 0; p < parts; ++p) sum[p] += value * *reinterpret_cast<const Eight*>(row + 8 * p);
    }
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) *reinterpret_cast<Eight*>(z + 8 * p) += sum[p];
}

static void gather(const std::int32_t* indices, const float* values, Index count, const float* w, Index width,
                   float* z) {
    if (width == 1) {
        float sum[4] = {};
        Index e = 0;
        for (; e + 4 <= count; e += 4)
            for (int l = 0; l < 4; ++l) sum[l] += values[e + l] * w[indices[e + l]];
        for (; e < count; ++e) sum[0] += values[e] * w[indices[e]];
        z[0] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        return;
    }
    Index k = 0;
    for (; k + 40 <= width; k += 40) gather_group<5>(indices, values, count, w + k, width, z + k);
    for (; k + 24 <= width; k += 24) gather_group<3>(indices, values, count, w + k, width, z + k);
    for (; k + 16 <= width; k += 16) gather_group<2>(indices, values, count, w + k, width, z + k);
    for (; k < width; k += 8) gather_group<1>(indices, values, count, w + k, width, z + k);
}

static void scatter(const std::int32_t* indices, const float* values, Index count, const float* change, Index width,
                    float* w) {
    if (width == 1) {
        for (Index e = 0; e < count; ++e) w[indices[e]] += values[e] * change[0];
        return;
    }
    for (Index e = 0; e < count; ++e) {
        float* row = w + static_cast<Index>(indices[e]) * width;
        const Eight value = values[e] - Eight{};
        for (Index k = 0; k < width; k += 8)
            *reinterpret_cast<Eight*>(row + k) += value * *reinterpret_cast<const Eight*>(change + k);
    }
}

typedef float SingleVec __attribute__((vector_size(WIDTH * 8)));  // as wide as Vec, twice as many
constexpr int LEFT = WIDTH == 8 ? 8 : WIDTH == 4 ? 6 : 4, RIGHT_PARTS = 2;
constexpr int RIGHT = RIGHT_PARTS * 2 * WIDTH;

static void outer(const float* w, const float* x, const float* y, Index rows, Index stride, double* block) {
    SingleVec acc[LEFT][RIGHT_PARTS] = {};
    for (Index r = 0; r < rows; ++r) {
        SingleVec right[RIGHT_PARTS];
#pragma GCC unroll 2
        for (int p = 0; p < RIGHT_PARTS; ++p) {  // one register at a time: copied as a whole they go through memory
            SingleVec v;
            __builtin_memcpy(&v, y + r * stride + p * 2 * WIDTH, sizeof v);
            right[p] = v * w[r];
        }
#pragma GCC unroll 8
        for (int a = 0; a < LEFT; ++a) {
            const SingleVec one = x[r * stride + a] - SingleVec{};
#pragma GCC unroll 2
            for (int p = 0; p < RIGHT_PARTS; ++p) acc[a][p] += one * right[p];
        }
    }
#pragma GCC unroll 8
    for (int a = 0; a < LEFT; ++a) {
        float sums[RIGHT];
        __builtin_memcpy(sums, acc[a], sizeof sums);
#pragma omp simd
        for (int v = 0; v < RIGHT; ++v) block[a * RIGHT + v] += static_cast<double>(sums[v]);
    }
}

static void products(const float* x, Index low, Index end, float* out) {
    for (Index i = low, at = low * (low + 1) / 2; at < end; at += ++i) {
        const Eight one = x[i] - Eight{};
        for (Index j = 0; j <= i; j += 8)
            *reinterpret_cast<Eight*>(out + at + j) = one * *reinterpret_cast<const Eight*>(x + j);
    }
}

static void outer_double(const float* w, const float* x, const float* y, Index rows, Index stride, double* block) {
    typedef float Narrow __attribute__((vector_size(WIDTH * 4)));  // as many as Vec
    for (int half = 0; half < RIGHT; half += 2 * WIDTH) {          // as many registers as `outer` has for the whole
        Vec acc[LEFT][2] = {};
        for (Index r = 0; r < rows; ++r) {
            Vec right[2];
#pragma GCC unroll 2
            for (int p = 0; p < 2; ++p) {
                Narrow v;
                __builtin_memcpy(&v, y + r * stride + half + p * WIDTH, sizeof v);
                right[p] = __builtin_convertvector(v, Vec) * static_cast<double>(w[r]);
            }
#pragma GCC unroll 8
            for (int a = 0; a < LEFT; ++a) {
                const Vec one = static_cast<double>(x[r * stride + a]) - Vec{};
#pragma GCC unroll 2
                for (int p = 0; p < 2; ++p) acc[a][p] += one * right[p];
            }
        }
#pragma GCC unroll 8
        for (int a = 0; a < LEFT; ++a) {
            double sums[2 * WIDTH];
            __builtin_memcpy(sums, acc[a], sizeof sums);
#pragma omp simd
            for (int v = 0; v < 2 * WIDTH; ++v) block[a * RIGHT + half + v] += sums[v];
        }
    }
}

static void coupling(const double* s, const double* p, const double* q, const double* t, Index rows, float* w) {
    if (p == q) {
#pragma omp simd
        for (Index r = 0; r < rows; ++r)
            w[r] = static_cast<float>(s[r] * (p[r] * (1.0 - p[r]) + t[r] * (1.0 - t[r] + 2.0 * p[r])));
        return;
    }
#pragma omp simd
    for (Index r = 0; r < rows; ++r)
        w[r] = static_cast<float>(s[r] * (t[r] * (1.0 - t[r] + p[r] + q[r]) - p[r] * q[r]));
}

static double add_up(Vec v) {
    double lanes[WIDTH];
    store(lanes, v);
    double sum = 0.0;
    for (int l = 0; l < WIDTH; ++l) sum += lanes[l];
    return sum;
}

// out[i * 4 + j] = a_i . b_j for 4 rows of a and 4 of b
static void dots(const double* a, Index a_stride, const double* b, Index b_stride, Index n, double* out) {
    Vec acc[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[i][j] = Vec{};
    Index k = 0;
    for (; k + WIDTH <= n; k += WIDTH) {
        Vec x[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) x[i] = load(a + i * a_stride + k);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            const Vec y = load(b + j * b_stride + k);
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) acc[i][j] += x[i] * y;
        }
    }
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) {
            double sum = add_up(acc[i][j]);
            for (Index t = k; t < n; ++t) sum += a[i * a_stride + t] * b[j * b_stride + t];
            out[i * 4 + j] = sum;
        }
}

static double dot(const double* a, const double* b, Index n) {
    double lanes[LANES] = {};
    Index i = 0;
    for (; i + LANES <= n; i += LANES)
#pragma omp simd
        for (int l = 0; l < LANES; ++l) lanes[l] += a[i + l] * b[i + l];
    double tail = 0.0;
    for (; i < n; ++i) tail += a[i] * b[i];
    return (((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))) + tail;
}

static void subtract_scaled(double* a, const double* b, double factor, Index n) {
#pragma omp simd
    for (Index i = 0; i < n; ++i) a[i] -= factor * b[i];
}

#define LUCE_TEXT_(x) #x
#define LUCE_TEXT(x) LUCE_TEXT_(x)

template <class S>
static constexpr RowKernels<S> ROW_KERNELS = {
    rows_in_place<S>,        copied_rows<std::uint8_t, S>,
    copied_rows<Float16, S>, copied_rows<float, S>,
    copied_rows<double, S>,  forward_rows<S>,
    bring_rows<S>,           backward_rows<S>,
};

extern const Kernels table;
const Kernels table = {
    LUCE_TEXT(LUCE_ISA),
    ROW_KERNELS<float>,
    ROW_KERNELS<double>,
    load_rows<std::uint8_t>,
    load_rows<Float16>,
    load_rows<float>,
    load_rows<double>,
    forward,
    forward_sparse,
    sweep,
    curvature,
    backward,
    backward_sparse,
    columns_of<float>,
    columns_of<double>,
    gather,
    scatter,
    dual_row,
    widen16,
    panel,
    scaled_row<std::uint8_t>,
    scaled_row<float>,
    activate,
    output_row,
    adam,
    LEFT,
    RIGHT,
    outer,
    outer_double,
    products,
    coupling,
    dots,
    dot,
    subtract_scaled,
};

}  // namespace LUCE_ISA
}  // namespace luce
