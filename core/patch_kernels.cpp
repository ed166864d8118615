// Compiled once per instruction set: LUCE_ISA names the namespace and the table.
// No standard-library templates here: a weak symbol made with wide instructions could be linked for everyone.
#include "patch_kernels.h"
#include "intrinsics.h"

namespace luce {
namespace LUCE_ISA {

#include "lanes.h"

constexpr int EACH = Register<Floats>::LANES, PARTS = 2, PANEL = PARTS * EACH;
constexpr int BESIDE = 6;      // places at a time: their 12 sums and what is multiplied fill 16 registers
constexpr Index STRETCH = 64;  // places whose contrast is worked out together

template <int COUNT, int STEP>  // STEP 0: told at run time
static void respond_to(const float* x, Index step, const Index* taps, Index tap_count, const float* filters,
                       float* out) {
    const Index by = STEP > 0 ? STEP : step;
    Floats sums[COUNT][PARTS] = {};
    for (Index t = 0; t < tap_count; ++t, filters += PANEL) {
        const float* at = x + taps[t];
        const Floats left = load(filters), right = load(filters + EACH);
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) {
            const Floats one = at[i * by] - Floats{};
            sums[i][0] += one * left;
            sums[i][1] += one * right;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
        store(out + i * PANEL, sums[i][0]);
        store(out + i * PANEL + EACH, sums[i][1]);
    }
}

template <int STEP>
static void respond_along(const float* x, Index step, Index count, const Index* taps, Index tap_count,
                          const float* filters, float* out) {
    Index i = 0;
    for (; i + BESIDE <= count; i += BESIDE)
        respond_to<BESIDE, STEP>(x + i * step, step, taps, tap_count, filters, out + i * PANEL);
    for (; i + 2 <= count; i += 2) respond_to<2, STEP>(x + i * step, step, taps, tap_count, filters, out + i * PANEL);
    if (i < count) respond_to<1, STEP>(x + i * step, step, taps, tap_count, filters, out + i * PANEL);
}

static void respond(const float* x, Index step, Index count, const Index* taps, Index tap_count, const float* filters,
                    float* out) {
    if (step == 1)
        respond_along<1>(x, step, count, taps, tap_count, filters, out);
    else
        respond_along<0>(x, step, count, taps, tap_count, filters, out);
}

static void contrast(const float* x, Index count, const Index* taps, Index tap_count, float noise, float* inverse) {
    const float share = 1.0f / static_cast<float>(tap_count);
    for (Index begin = 0; begin < count; begin += STRETCH) {
        const Index n = count - begin < STRETCH ? count - begin : STRETCH;
        float sums[STRETCH] = {}, squares[STRETCH] = {};
        for (Index t = 0; t < tap_count; ++t) {
            const float* at = x + begin + taps[t];
#pragma omp simd
            for (Index i = 0; i < n; ++i) {
                sums[i] += at[i];
                squares[i] += at[i] * at[i];
            }
        }
#pragma omp simd
        for (Index i = 0; i < n; ++i) {
            const float mean = sums[i] * share, variance = squares[i] * share - mean * mean;
            inverse[begin + i] = 1.0f / __builtin_sqrtf((variance > 0.0f ? variance : 0.0f) + noise);
        }
    }
}

static void rectify(const PatchLine& line, const float* responses, float* both) {
    Floats offset[PARTS];
    for (int p = 0; p < PARTS; ++p) offset[p] = load(line.offsets + p * EACH);
    const Floats threshold = line.threshold - Floats{}, none = {};
    for (Index i = 0; i < line.count; ++i) {
        const Floats inverse = line.inverse[i] - Floats{};
#pragma GCC unroll 2
        for (int p = 0; p < PARTS; ++p) {
            const Floats r = load(responses + i * PANEL + p * EACH) * inverse - offset[p];
            store(both + i * 2 * PANEL + p * EACH, larger(r - threshold, none));
            store(both + (i * 2 + 1) * PANEL + p * EACH, larger(-r - threshold, none));
        }
    }
}

static void pool(const PatchLine& line, const float* responses, float* both, float* sums) {
    rectify(line, responses, both);
    for (Index c = 0; c < line.cells; ++c) {
        Floats sum[2 * PARTS] = {};
        for (Index i = line.first[c]; i < line.last[c]; ++i) {
            const Floats share = line.shares[c * line.count + i] - Floats{};
#pragma GCC unroll 4
            for (int p = 0; p < 2 * PARTS; ++p) sum[p] += share * load(both + i * 2 * PANEL + p * EACH);
        }
#pragma GCC unroll 4
        for (int p = 0; p < 2 * PARTS; ++p) store(sums + c * 2 * PANEL + p * EACH, sum[p]);
    }
}

static void add_scaled(float* a, const float* b, float factor, Index n) {
#pragma omp simd
    for (Index i = 0; i < n; ++i) a[i] += factor * b[i];
}

extern const PatchKernels patch_table;
const PatchKernels patch_table = {PANEL, respond, contrast, pool, add_scaled};

}  // namespace LUCE_ISA
}  // namespace luce
