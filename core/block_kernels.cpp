// Compiled once per instruction set: LUCE_ISA names the namespace and the table.
// No standard-library templates here: a weak symbol made with wide instructions could be linked for everyone.
#include "block_kernels.h"
#include "intrinsics.h"

namespace luce {
namespace LUCE_ISA {

#include "lanes.h"

constexpr int SINGLES = Register<Floats>::LANES, AHEAD = 8, LINE = 16;
constexpr int HALF = BLOCK / 2;  // a half's sums and one number fill the registers

static void bring(const float* from) {
#pragma GCC unroll 4
    for (int c = 0; c < BLOCK; c += LINE) __builtin_prefetch(from + c);
}

static double value_of(const SparseRow& x, Index e) {
    return x.values != nullptr ? static_cast<double>(x.values[e]) : x.doubles[e];
}

// How logits are summed: in float, or in double.
struct Single {
    using Number = float;
    using Lanes = Floats;
    static constexpr int AT_ONCE = BLOCK, LANES = SINGLES;
    static Lanes value(const SparseRow& x, Index e) { return x.values[e] - Floats{}; }
    static Lanes weights(const float* w) { return load(w); }
};
struct Exact {
    using Number = double;
    using Lanes = Vec;
    static constexpr int AT_ONCE = HALF, LANES = WIDTH;
    static Lanes value(const SparseRow& x, Index e) { return broadcast(value_of(x, e)); }
    static Lanes weights(const float* w) { return widen(w); }
};

template <class As>
static void logits(const SparseRow& x, const float* w, const typename As::Number* bias, typename As::Number* z) {
    constexpr int PARTS = As::AT_ONCE / As::LANES < 8 ? As::AT_ONCE / As::LANES : 8, STEP = PARTS * As::LANES;
    for (int first = 0; first < BLOCK; first += STEP) {
        typename As::Lanes sum[PARTS];
#pragma GCC unroll 8
        for (int p = 0; p < PARTS; ++p) sum[p] = load(bias + first + p * As::LANES);
        for (Index e = 0; e < x.count; ++e) {
            if (first == 0 && e + AHEAD < x.count) bring(w + static_cast<Index>(x.indices[e + AHEAD]) * BLOCK);
            const float* row = w + static_cast<Index>(x.indices[e]) * BLOCK + first;
            const auto value = As::value(x, e);
#pragma GCC unroll 8
            for (int p = 0; p < PARTS; ++p) sum[p] += value * As::weights(row + p * As::LANES);
        }
#pragma GCC unroll 8
        for (int p = 0; p < PARTS; ++p) store(z + first + p * As::LANES, sum[p]);
    }
}

static void add(const SparseRow& x, const float* r, float* g) {
    for (Index e = 0; e < x.count; ++e) {
        if (e + AHEAD < x.count) bring(g + static_cast<Index>(x.indices[e + AHEAD]) * BLOCK);
        float* row = g + static_cast<Index>(x.indices[e]) * BLOCK;
        const Floats value = x.values[e] - Floats{};
#pragma GCC unroll 8
        for (int c = 0; c < BLOCK; c += SINGLES) store(row + c, load(row + c) + value * load(r + c));
    }
}

static void add_exact(const SparseRow& x, const double* r, double* g) {
    for (Index e = 0; e < x.count; ++e) {
        double* row = g + static_cast<Index>(x.indices[e]) * BLOCK;
        const Vec value = broadcast(value_of(x, e));
#pragma GCC unroll 8
        for (int c = 0; c < BLOCK; c += WIDTH) store(row + c, load(row + c) + value * load(r + c));
    }
}

LUCE_INLINE double lane_sum(Vec v) {
    double sum = v[0];
    for (int l = 1; l < WIDTH; ++l) sum += v[l];
    return sum;
}

// Adds what the registers hold, in double.
LUCE_INLINE void add_lanes(Floats v, double* lanes) {
    float parts[SINGLES];
    store(parts, v);
    for (int l = 0; l < SINGLES; ++l) lanes[l] += static_cast<double>(parts[l]);
}
LUCE_INLINE double lanes_sum(const double* lanes) {
    double sum = 0.0;
    for (int l = 0; l < SINGLES; ++l) sum += lanes[l];
    return sum;
}

static double residual(float* z, Index stride, int blocks, int own, float weight) {
    Floats most = load(z);
    for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < BLOCK; c += SINGLES) most = larger(load(z + b * stride + c), most);
    float top = most[0];
    for (int l = 1; l < SINGLES; ++l) top = most[l] > top ? most[l] : top;
    float* const mine = z + (own / BLOCK) * stride + own % BLOCK;
    const float under = top - *mine;
    double lanes[SINGLES] = {};
    for (int b = 0; b < blocks; ++b) {
        Floats sum{};
        for (int c = 0; c < BLOCK; c += SINGLES) {
            const Floats e = exp_float(load(z + b * stride + c) - top);
            store(z + b * stride + c, e);
            sum += e;
        }
        add_lanes(sum, lanes);
    }
    const double total = lanes_sum(lanes);
    const float scale = static_cast<float>(static_cast<double>(weight) / total);
    for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < BLOCK; c += SINGLES) store(z + b * stride + c, load(z + b * stride + c) * scale);
    *mine -= weight;
    return static_cast<double>(weight) * (__builtin_log(total) + static_cast<double>(under));
}

static void spread(float* z, float log_sum, float weight) {
    for (int c = 0; c < BLOCK; c += SINGLES) {
        const Floats e = exp_float(load(z + c) - log_sum), p = e < 1.0f ? e : 1.0f - Floats{};
        store(z + c, weight * (p - p * p));
    }
}

static double shares(double* z, Index stride, int blocks) {
    Vec most = load(z);
    for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < BLOCK; c += WIDTH) most = larger(load(z + b * stride + c), most);
    double top = most[0];
    for (int l = 1; l < WIDTH; ++l) top = most[l] > top ? most[l] : top;
    Vec sum{};
    for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < BLOCK; c += WIDTH) {
            const Vec e = exp_lane(load(z + b * stride + c) - top);
            store(z + b * stride + c, e);
            sum += e;
        }
    const double total = lane_sum(sum), scale = 1.0 / total;
    for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < BLOCK; c += WIDTH) store(z + b * stride + c, load(z + b * stride + c) * scale);
    return top + __builtin_log(total);
}

static double weigh(const double* z, Index stride, int blocks, const double* weights) {
    Vec sum{};
    for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < BLOCK; c += WIDTH) sum += load(z + b * stride + c) * load(weights + b * BLOCK + c);
    return lane_sum(sum);
}

static void moved(double* z, double log_sum, double weight, const double* keep, const double* gain, double gained) {
    for (int c = 0; c < BLOCK; c += WIDTH) {
        const Vec p = exp_lane(load(z + c) - log_sum);
        store(z + c, weight * (p * load(keep + c) + gained * load(gain + c)));
    }
}

static void masses(const double* p, double weight, double* share, double* curve) {
    for (int c = 0; c < BLOCK; c += WIDTH) {
        const Vec mine = load(p + c);
        store(share + c, load(share + c) + weight * mine);
        store(curve + c, load(curve + c) + weight * (mine - mine * mine));
    }
}

typedef std::uint16_t Halves __attribute__((vector_size(SINGLES * 2), aligned(2), may_alias));
typedef std::uint32_t Words __attribute__((vector_size(SINGLES * 4)));

static Floats halves(const std::uint16_t* p) {
    return reinterpret_cast<Floats>(__builtin_convertvector(*reinterpret_cast<const Halves*>(p), Words) << 16);
}

// Stores the nearest numbers with a mantissa of eight bits, of equally near ones the even, and returns them.
static Floats store_halves(std::uint16_t* p, Floats x) {
    Words bits = reinterpret_cast<Words>(x);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    *reinterpret_cast<Halves*>(p) = __builtin_convertvector(bits, Halves);
    return reinterpret_cast<Floats>(bits << 16);
}

static void products(const BlockStep& s, Index count, double* sums) {
    double lanes[4][SINGLES] = {};
    for (Index i = 0; i < count; i += BLOCK) {
        Floats sum[4] = {};
        for (int c = 0; c < BLOCK; c += SINGLES) {
            const Floats g = load(s.gradient + i + c), y = g - load(s.before + i + c), v = halves(s.inverse + i + c);
            const Floats step = s.length * halves(s.direction + i + c);
            sum[0] += step * g;
            sum[1] += step * y;
            sum[2] += y * (v * y);
            sum[3] += y * (v * g);
        }
        for (int k = 0; k < 4; ++k) add_lanes(sum[k], lanes[k]);
    }
    for (int k = 0; k < 4; ++k) sums[k] += lanes_sum(lanes[k]);
}

static double direct(const BlockStep& s, Index count, float of_gradient, float of_change, float of_step) {
    double lanes[SINGLES] = {};
    for (Index i = 0; i < count; i += BLOCK) {
        Floats sum{};
        for (int c = 0; c < BLOCK; c += SINGLES) {
            const Floats g = load(s.gradient + i + c), y = g - load(s.before + i + c), v = halves(s.inverse + i + c);
            const Floats d = -v * (of_gradient * g - of_change * y) - of_step * halves(s.direction + i + c);
            sum += store_halves(s.direction + i + c, d) * g;
        }
        add_lanes(sum, lanes);
    }
    return lanes_sum(lanes);
}

static Floats numbers(const float* p) { return load(p); }
static Floats numbers(const std::uint16_t* p) { return halves(p); }

template <class T>
static double add_scaled(float* a, const T* b, float factor, Index count) {
    double lanes[SINGLES] = {};
    for (Index i = 0; i < count; i += BLOCK) {
        Floats sum{};
        for (int c = 0; c < BLOCK; c += SINGLES) {
            const Floats now = load(a + i + c) + factor * numbers(b + i + c);
            store(a + i + c, now);
            sum += now * now;
        }
        add_lanes(sum, lanes);
    }
    return lanes_sum(lanes);
}

extern const BlockKernels block_table;
const BlockKernels block_table = {logits<Single>,
                                  logits<Exact>,
                                  add,
                                  add_exact,
                                  residual,
                                  spread,
                                  shares,
                                  weigh,
                                  moved,
                                  masses,
                                  products,
                                  direct,
                                  add_scaled<float>,
                                  add_scaled<std::uint16_t>};

}  // namespace LUCE_ISA
}  // namespace luce
