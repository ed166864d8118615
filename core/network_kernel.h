// Products of panels, activations and the update of weights for the network (network.h), in float. A panel is 16
// columns of a matrix, row after row. Sums over the depth run from first to last whatever the block, so a row has the
// same activations wherever it stands. Only included by kernels.cpp, inside its namespace.
#pragma once
#include "lanes.h"

constexpr int UNIT_PARTS = UNITS / Register<Floats>::LANES;
constexpr Index PANEL_DEPTH = 96;
constexpr int UNIT_ROWS = WIDTH == 8 ? 12 : WIDTH == 4 ? 6 : 2;  // accumulators: UNIT_ROWS x UNIT_PARTS

// c[r] = start[r * start_step ..] + sum_k a[r * row_step + k * depth_step] w[k * w_step ..], for R rows
template <int R>
LUCE_INLINE void panel_block(const float* a, Index row_step, Index depth_step, Index depth, const float* w,
                             Index w_step, const float* start, Index start_step, float* c, Index ldc) {
    Floats acc[R][UNIT_PARTS];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int p = 0; p < UNIT_PARTS; ++p)
            acc[r][p] = start == nullptr ? Floats{} : load(start + r * start_step + p * Register<Floats>::LANES);
    for (Index k = 0; k < depth; ++k) {
        Floats b[UNIT_PARTS];
#pragma GCC unroll 4
        for (int p = 0; p < UNIT_PARTS; ++p) b[p] = load(w + k * w_step + p * Register<Floats>::LANES);
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
            const Floats one = a[r * row_step + k * depth_step] - Floats{};
#pragma GCC unroll 4
            for (int p = 0; p < UNIT_PARTS; ++p) acc[r][p] += one * b[p];
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int p = 0; p < UNIT_PARTS; ++p) store(c + r * ldc + p * Register<Floats>::LANES, acc[r][p]);
}

template <int R>
LUCE_INLINE void panel_rows(Index& r, const float* a, Index row_step, Index depth_step, Index rows, Index depth,
                            const float* w, Index w_step, const float* start, Index start_step, float* c, Index ldc) {
    for (; r + R <= rows; r += R)
        panel_block<R>(a + r * row_step, row_step, depth_step, depth, w, w_step,
                       start == nullptr ? nullptr : start + r * start_step, start_step, c + r * ldc, ldc);
}

// Where the depth is not side by side, in chunks of it that stay in the nearest cache; the sums go on in c.
static void panel(const float* a, Index row_step, Index depth_step, Index rows, Index depth, const float* w,
                  Index w_step, const float* start, float* c, Index ldc) {
    const Index chunk = depth_step == 1 ? depth : PANEL_DEPTH;
    Index start_step = 0, k = 0;
    do {
        const Index deep = depth - k < chunk ? depth - k : chunk;
        const float *x = a + k * depth_step, *y = w + k * w_step;
        Index r = 0;
        panel_rows<UNIT_ROWS>(r, x, row_step, depth_step, rows, deep, y, w_step, start, start_step, c, ldc);
        if constexpr (UNIT_ROWS > 4)
            panel_rows<4>(r, x, row_step, depth_step, rows, deep, y, w_step, start, start_step, c, ldc);
        panel_rows<2>(r, x, row_step, depth_step, rows, deep, y, w_step, start, start_step, c, ldc);
        panel_rows<1>(r, x, row_step, depth_step, rows, deep, y, w_step, start, start_step, c, ldc);
        start = c, start_step = ldc, k += chunk;
    } while (k < depth);
}

// 32 random bits for each unit of a row: a key of the row and the unit's number, mixed (the finaliser of MurmurHash3).
LUCE_INLINE FloatPlaces mixed_lanes(std::uint32_t key, int first) {
    typedef std::uint32_t Words __attribute__((vector_size(WIDTH * 8)));
    Words h;
    for (int l = 0; l < Register<Floats>::LANES; ++l) h[l] = static_cast<std::uint32_t>(first + l);
    h = h * 0x9e3779b1u + key;
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    h ^= h >> 16;
    return (FloatPlaces)(h >> 8);  // 24 bits
}

// to[j] = (from[j] - shift[j]) scale[j], held within +-most
template <class T>
static void scaled_row(const T* from, const double* shift, const double* scale, Index columns, double most, float* to) {
    for (Index j = 0; j < columns; ++j) {
        const double x = (static_cast<double>(from[j]) - shift[j]) * scale[j];
        to[j] = static_cast<float>(x < -most ? -most : x > most ? most : x);
    }
}

static void activate(float* a, float* slope, int units, bool gelu, float dropout, std::uint32_t key) {
    const float scale = 1.0f / (1.0f - dropout);
    const std::int32_t bound = static_cast<std::int32_t>(dropout * 16777216.0f);
    for (int u = 0; u < units; u += Register<Floats>::LANES) {
        const Floats z = load(a + u);
        Floats value, rise;
        if (gelu) {  // z (1 + tanh t) / 2 = z s(2t), t = sqrt(2 / pi) (z + 0.044715 z^3), s the sigmoid
            const Floats t2 = 1.5957691f * (z + 0.044715f * z * z * z);
            const Floats e = exp_float(t2 > 80.0f ? Floats{} - 80.0f : -t2);
            const Floats s = 1.0f / (1.0f + (t2 < -80.0f ? Floats{} + 3e38f : e));
            value = z * s;
            rise = s + z * s * (1.0f - s) * (1.5957691f * (1.0f + 0.134145f * z * z));
        } else {
            value = z > 0.0f ? z : Floats{};
            rise = z > 0.0f ? Floats{} + 1.0f : Floats{};
        }
        if (dropout > 0.0f) {
            const Floats kept = mixed_lanes(key, u) >= bound ? Floats{} + scale : Floats{};
            value *= kept;
            rise *= kept;
        }
        store(a + u, value);
        if (slope != nullptr) store(slope + u, rise);
    }
}

// residual = weight (softmax(z) - onehot(own)); gives weight * cross-entropy. One output: the sigmoid, own 0 or 1.
static double output_row(const float* z, int outputs, int own, float weight, float* residual) {
    if (outputs == 1) {
        const double margin = own == 1 ? static_cast<double>(z[0]) : -static_cast<double>(z[0]);
        const double e = __builtin_exp(-__builtin_fabs(margin));
        const double miss = margin > 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
        residual[0] = weight * static_cast<float>(own == 1 ? -miss : miss);
        return static_cast<double>(weight) * (__builtin_log1p(e) + (margin > 0.0 ? 0.0 : -margin));
    }
    float most = z[0];
    for (int k = 1; k < outputs; ++k) most = z[k] > most ? z[k] : most;
    double sum = 0.0;
    for (int k = 0; k < outputs; k += Register<Floats>::LANES) {
        const Floats e = exp_float(load(z + k) - most);
        store(residual + k, e);
        for (int l = 0; l < Register<Floats>::LANES && k + l < outputs; ++l) sum += static_cast<double>(e[l]);
    }
    const float scale = static_cast<float>(static_cast<double>(weight) / sum);
    for (int k = 0; k < outputs; ++k) residual[k] *= scale;
    for (int k = outputs; k % UNITS != 0; ++k) residual[k] = 0.0f;
    residual[own] -= weight;
    return static_cast<double>(weight) * (__builtin_log(sum) + static_cast<double>(most - z[own]));
}

static void adam(float* w, float* m, float* v, const float* g, Index count, const AdamStep& s) {
    for (Index i = 0; i < count; i += Register<Floats>::LANES) {
        const Floats slope = load(g + i);
        const Floats mean = load(m + i) * s.first + slope * (1.0f - s.first);
        const Floats square = load(v + i) * s.second + slope * slope * (1.0f - s.second);
        store(m + i, mean);
        store(v + i, square);
        const Floats old = load(w + i);
        Floats root = square * s.second_scale;
        for (int l = 0; l < Register<Floats>::LANES; ++l) root[l] = __builtin_sqrtf(root[l]);
        store(w + i, old - s.rate * (mean * s.first_scale / (root + s.least) + s.decay * old));
    }
}
