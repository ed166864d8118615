// Softmax, log-softmax and logsumexp of many rows. Compiled once per instruction set (see kernels.cpp on std
// templates).
//
// WIDTH rows are worked at a time. Their numbers lie in registers, either row after row as they come from memory
// (RowMajor) or one class a register (ClassMajor); all that differs is how a register of per-row values is reduced from
// them and spread over them, and the order of every reduction is the same: the bits do not depend on the layout.
// docs/numerics.md has the error bounds and why they hold.
#include "softmax_kernels.h"

#include <cstdint>
#include <type_traits>

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 says it of its own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace luce {
namespace LUCE_ISA {

#include "vector_math.h"

namespace {

constexpr Index FEW = 16;        // up to so many classes a row stays in registers
constexpr double REACH = 800.0;  // e^-REACH is 0 in double: lower logits count as if they were so much below the top

// ---------------------------------------------------------------------------------------------------------------------
// registers

// The larger, the smaller; b if either is NaN. (The compiler would not take the one instruction for it by itself.)
#if defined(__AVX512F__)
LUCE_INLINE Vec larger(Vec a, Vec b) { return (Vec)_mm512_max_pd((__m512d)a, (__m512d)b); }
LUCE_INLINE Vec smaller(Vec a, Vec b) { return (Vec)_mm512_min_pd((__m512d)a, (__m512d)b); }
#elif defined(__AVX2__)
LUCE_INLINE Vec larger(Vec a, Vec b) { return (Vec)_mm256_max_pd((__m256d)a, (__m256d)b); }
LUCE_INLINE Vec smaller(Vec a, Vec b) { return (Vec)_mm256_min_pd((__m256d)a, (__m256d)b); }
#else
LUCE_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }
LUCE_INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
#endif

// NaN stays NaN.
LUCE_INLINE Vec at_least(Vec x, Vec low) { return larger(low, x); }
LUCE_INLINE double at_least(double x, double low) { return x < low ? low : x; }

LUCE_INLINE bool any(IntVec mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_pd((__m256d)mask) != 0;
#else
    return (mask[0] | mask[1]) != 0;
#endif
}

template <class T>
LUCE_INLINE Vec widen(const T* p) {
    typedef T Narrow __attribute__((vector_size(WIDTH * sizeof(T))));
    Narrow v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, Vec);
}

template <class T>
LUCE_INLINE void narrow(T* p, Vec x) {
    typedef T Narrow __attribute__((vector_size(WIDTH * sizeof(T))));
    const Narrow v = __builtin_convertvector(x, Narrow);
    __builtin_memcpy(p, &v, sizeof v);
}

template <int... I>
struct Lanes {};
template <int N, int... I>
struct CountUp : CountUp<N - 1, N - 1, I...> {};
template <int... I>
struct CountUp<0, I...> {
    typedef Lanes<I...> type;
};
typedef typename CountUp<WIDTH>::type AllLanes;

// Lane l of the result is lane Choice::lane(l) of a, or of b from WIDTH on.
template <class Choice, int... L>
LUCE_INLINE Vec pick(Vec a, Vec b, Lanes<L...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, Choice::lane(L)...);
#else
    return __builtin_shuffle(a, b, IntVec{Choice::lane(L)...});
#endif
}

// A sum in two parts, the second what the first has lost.
struct Sum {
    Vec high, low;
};

template <class Choice>
LUCE_INLINE Vec pick(Vec a, Vec b) {
    return pick<Choice>(a, b, AllLanes());
}
template <class Choice>
LUCE_INLINE Sum pick(Sum a, Sum b) {
    return {pick<Choice>(a.high, b.high), pick<Choice>(a.low, b.low)};
}

struct Add {
    __attribute__((always_inline)) Vec operator()(Vec a, Vec b) const { return a + b; }
    // exact but for the rounding of `low` (Knuth's two-sum)
    __attribute__((always_inline)) Sum operator()(Sum a, Sum b) const {
        const Vec s = a.high + b.high, t = s - a.high;
        return {s, (a.low + b.low) + ((a.high - (s - t)) + (b.high - t))};
    }
};
// 1 - inverse * (total + low), exact to double
LUCE_INLINE Vec rest_of_inverse(Vec inverse, Vec total, Vec low) {
    const Vec product = inverse * total;
    return ((1.0 - product) - product_rest(inverse, total, product)) - inverse * low;
}

// a + (the sum), rounded once
LUCE_INLINE Vec plus(Vec a, Sum b) {
    const Sum s = Add()(Sum{a, Vec{}}, b);
    return s.high + s.low;
}

struct Max {
    __attribute__((always_inline)) Vec operator()(Vec a, Vec b) const { return larger(a, b); }
};

// ---------------------------------------------------------------------------------------------------------------------
// layouts: WIDTH rows of K numbers in K registers

// Neighbours are paired as long as their number is even; then the rest is taken from the left.
template <int K>
struct ClassMajor {
    template <class E, class Op>
    LUCE_INLINE E reduce(const E* v, Op op) {
        if constexpr (K > 1 && K % 2 == 0) {
            E half[K / 2];
#pragma GCC unroll 16
            for (int i = 0; i < K / 2; ++i) half[i] = op(v[2 * i], v[2 * i + 1]);
            return ClassMajor<K / 2>::reduce(half, op);
        } else {
            E all = v[0];
#pragma GCC unroll 16
            for (int i = 1; i < K; ++i) all = op(all, v[i]);
            return all;
        }
    }
    LUCE_INLINE Vec spread(Vec row, int) { return row; }
    static constexpr bool row_major = false;
    static constexpr int place(int lane, int k) { return k * WIDTH + lane; }
};

template <int ODD>
struct EveryOther {
    static constexpr int lane(int l) { return 2 * l + ODD; }
};

// Class CLASS of all rows, once register FROM has been merged in.
template <int K, int CLASS, int FROM>
struct OneClass {
    static constexpr int lane(int l) {
        const int at = l * K + CLASS, source = at / WIDTH;
        if (source == FROM) return WIDTH + at % WIDTH;
        return FROM == 1 && source == 0 ? at % WIDTH : l;
    }
    static constexpr bool needed() {
        for (int l = 0; l < WIDTH; ++l)
            if ((l * K + CLASS) / WIDTH == FROM) return true;
        return false;
    }
};

// The row that each number of register I belongs to.
template <int K, int I>
struct RowOf {
    static constexpr int lane(int l) { return (I * WIDTH + l) / K; }
};

template <int K>
struct RowMajor {
    template <class E, class Op>
    LUCE_INLINE E reduce(const E* v, Op op) {
        if constexpr (K > 1 && K % 2 == 0) {
            E half[K / 2];
#pragma GCC unroll 16
            for (int i = 0; i < K / 2; ++i)
                half[i] = op(pick<EveryOther<0>>(v[2 * i], v[2 * i + 1]), pick<EveryOther<1>>(v[2 * i], v[2 * i + 1]));
            return RowMajor<K / 2>::reduce(half, op);
        } else {
            E all = one_class<0>(v);
            fold<1>(v, all, op);
            return all;
        }
    }
    template <int I = 0>
    LUCE_INLINE Vec spread(Vec row, int i) {
        if constexpr (I + 1 < K) {
            if (i != I) return spread<I + 1>(row, i);
        }
        return pick<RowOf<K, I>>(row, row);
    }
    static constexpr bool row_major = true;
    static constexpr int place(int lane, int k) { return lane * K + k; }

private:
    template <int CLASS, int FROM = 1, class E>
    LUCE_INLINE E one_class(const E* v) {
        return merge<CLASS, FROM>(v, v[0]);
    }
    template <int CLASS, int FROM, class E>
    LUCE_INLINE E merge(const E* v, E so_far) {
        if constexpr (FROM < K) {
            typedef OneClass<K, CLASS, FROM> Choice;
            if constexpr (FROM == 1 || Choice::needed())
                return merge<CLASS, FROM + 1>(v, pick<Choice>(so_far, v[FROM]));
            else
                return merge<CLASS, FROM + 1>(v, so_far);
        } else {
            return so_far;
        }
    }
    template <int CLASS, class E, class Op>
    LUCE_INLINE void fold(const E* v, E& all, Op op) {
        if constexpr (CLASS < K) {
            all = op(all, one_class<CLASS>(v));
            fold<CLASS + 1>(v, all, op);
        }
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// exponentials

// e^x for |x| <= 400 to 2^-34: enough for a result that is rounded to float32.
LUCE_INLINE Vec exp_single(Vec x) {
    const Vec shifted = x * 1.4426950408889634 + MAGIC;
    const Vec r = x - (shifted - MAGIC) * 0.6931471805599453;
    Vec p = r * 0.00019790341424157098 + 0.0013944659634710502;
    p = p * r + 0.008333497074880809;
    p = p * r + 0.0416662949471975;
    p = p * r + 0.16666665868936492;
    p = p * r + 0.5000000067682111;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return from_bits<Vec>(to_bits(p) + (to_bits(shifted) << 52));
}

// e^(x + low) = 2^power * (result + lost) to 2^-56, and the result alone to 0.51 ulp, for |x| <= 2^19 and |low| <=
// 2^-30: every step that would lose more leaves its rest to the last addition.
template <class V>
LUCE_INLINE V exp_parts(V x, V low, V& power, V& lost) {
    const V n = (x * 1.4426950408889634 + MAGIC) - MAGIC;
    const V high = x - n * 0.693147180369123816490;  // exact: 33 bits of ln 2 times at most 20
    const V r = high - n * 1.90821492927058770002e-10;
    const V rest = ((high - r) - n * 1.90821492927058770002e-10) + low;
    V q = r * 2.500006162553128e-08 + 2.763024838532302e-07;
    q = q * r + 2.755758637378518e-06;
    q = q * r + 2.480149309888739e-05;
    q = q * r + 0.00019841269506578723;
    q = q * r + 0.0013888888943630134;
    q = q * r + 0.008333333333494461;
    q = q * r + 0.041666666666530155;
    q = q * r + 0.16666666666666413;
    q = q * r + 0.5000000000000011;
    const V square = (r * r) * q;
    const V t = r + square;
    const V e = 1.0 + t;
    const V small = ((t - (e - 1.0)) + (square - (t - r))) + rest * e;
    const V result = e + small;
    power = n;
    lost = small - (result - e);
    return result;
}

template <class V>
LUCE_INLINE V exp_parts(V x, V low, V& power) {
    V lost;
    return exp_parts(x, low, power, lost);
}

// ln(1 + u + low) = result + lost to 2^-57 for u >= 0; the steps are those of log1p_lane.
template <class V>
LUCE_INLINE V log1p_parts(V u, V low, V& lost) {
    const V w = 1.0 + u;
    const Bits<V> n = (to_bits(w) - 0x3fe6a09e667f3bcdLL) >> 52;
    const V m = from_bits<V>(to_bits(w) - (n << 52));
    const V less = w > u ? (w - 1.0) - u : (w - u) - 1.0;  // what 1 + u was rounded up by
    const V exact = m - 1.0, rest = (low - less) * from_bits<V>((1023 - n) << 52);
    const V f = exact + rest, f_low = rest - (f - exact);
    const V g = f + 2.0, g_low = f - (g - 2.0);
    const V s = f / g, product = s * g;
    const V s_low = (((f - product) - product_rest(s, g, product)) + (f_low - s * (g_low + f_low))) / g;
    const V z = s * s;
    V p = z * (1.0 / 23) + 1.0 / 21;
    p = p * z + 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    const V e = from_bits<V>(n + to_bits(V{} + MAGIC)) - MAGIC;
    const V high = e * 0.693147180369123816490, twice = 2.0 * s;
    const V sum = high + twice, t = sum - high;
    const V small = ((high - (sum - t)) + (twice - t)) + (2.0 * (s * z * p + s_low) + e * 1.90821492927058770002e-10);
    const V result = sum + small;
    lost = small - (result - sum);
    return result;
}

// 2^n for integers -1022 <= n <= 1023
template <class V>
LUCE_INLINE V power_of_two(V n) {
    return from_bits<V>((to_bits(n + MAGIC) + 1023) << 52);
}

// value * 2^power for integers -1200 <= power <= 1023, rounded at most once
template <class V>
LUCE_INLINE V times_power(V value, V power) {
    const V first = at_least(power, V{} - 1000.0);
    return value * power_of_two(first) * power_of_two(power - first);
}

// (a - b) / temperature as a sum of two numbers; -inf has no rest.
template <class V>
LUCE_INLINE V scaled_difference(V a, V b, double temperature, V& low) {
    const V d = a - b, t = d - a;
    const V lost = (a - (d - t)) - (b + t);
    if (temperature == 1.0) {
        low = lost - lost == 0.0 ? lost : V{};
        return d;
    }
    const V q = d / temperature;
    const V product = q * temperature;
    const V rest = (((d - product) - product_rest(q, V{} + temperature, product)) + lost) / temperature;
    low = rest - rest == 0.0 ? rest : V{};
    return q;
}

// ---------------------------------------------------------------------------------------------------------------------
// one row of any length, number by number: the way out for rows that the fast ways decline

static double broken_total(const double* z, Index n) {
    double top = -__builtin_inf();
    for (Index k = 0; k < n; ++k) {
        if (z[k] != z[k]) return z[k];
        top = z[k] > top ? z[k] : top;
    }
    return top;  // +inf, or -inf if nothing is possible
}

// The formulas of `group`, without a limit on the logits. z is overwritten by the result; gives logsumexp.
static double row_alone(Softmax kind, double* z, Index n, double temperature) {
    double top = -__builtin_inf();
    bool sound = true;
    for (Index k = 0; k < n; ++k) {
        sound &= z[k] < __builtin_inf();
        top = z[k] > top ? z[k] : top;
    }
    if (!sound || top == -__builtin_inf()) {
        const double total = broken_total(z, n);
        for (Index k = 0; k < n; ++k) z[k] = __builtin_nan("");
        return total;
    }
    double rest = 0.0, lost = 0.0;  // sum of the exponentials below the top, and what the sum has lost
    Index tops = 0;
    for (Index k = 0; k < n; ++k) {
        double low, power, e_low;
        const double d = scaled_difference(z[k], top, temperature, low);
        tops += d == 0.0;
        if (!(d < 0.0 && d > -REACH)) continue;
        const double value = exp_parts(d, low, power, e_low), e = times_power(value, power);
        const double s = rest + e, t = s - rest;
        lost += ((rest - (s - t)) + (e - t)) + times_power(e_low, power);
        rest = s;
    }
    const double whole = rest + static_cast<double>(tops - 1);  // exact, or the smaller part is in `lost`
    lost += tops > 1 ? rest - (whole - static_cast<double>(tops - 1)) : 0.0;
    rest = whole + lost;
    lost -= rest - whole;
    double log_low;
    const double log_sum = log1p_parts(rest, lost, log_low);
    const double total = 1.0 + rest, total_low = (rest - (total - 1.0)) + lost;
    for (Index k = 0; k < n; ++k) {
        double low, power;
        const double d = scaled_difference(z[k], top, temperature, low);
        if (kind == Softmax::logarithms) {
            z[k] = (d - log_sum) + (low - log_low);
        } else if (!(d > -REACH)) {
            z[k] = 0.0;
        } else {
            const double e = exp_parts(d, low, power), q = e / total, product = q * total;
            const double better = q + (((e - product) - product_rest(q, total, product)) - q * total_low) / total;
            z[k] = times_power(better, power);
        }
    }
    return top + (log_sum + log_low);
}

// ---------------------------------------------------------------------------------------------------------------------
// WIDTH rows of K classes, 2 <= K <= FEW. x becomes the results, total the logsumexp of each row; the mask says which
// rows are declined: their results mean nothing.

// Only differences to the top logit enter, and they are exact: a constant added to all logits changes no bit.
template <class T>
LUCE_INLINE Vec below(Vec z, Vec top, double temperature, Vec& low) {
    if (sizeof(T) == 8) return scaled_difference(z, top, temperature, low);
    low = Vec{};
    return temperature == 1.0 ? z - top : (z - top) / temperature;  // far more digits than float32 keeps
}

template <class Layout, int K, class T>
LUCE_INLINE void take_down(Vec* x, Vec* low, double temperature, Vec top) {
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) x[i] = below<T>(x[i], Layout::spread(top, i), temperature, low[i]);
}

template <class Layout, int K>
LUCE_INLINE IntVec probabilities(Vec* x, double temperature, float) {
    Vec low[K];
    take_down<Layout, K, float>(x, low, temperature, Layout::reduce(x, Max()));
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) x[i] = exp_single(at_least(x[i], Vec{} - 400.0));
    const Vec sum = Layout::reduce(x, Add());
    const Vec inverse = 1.0 / sum;
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) x[i] *= Layout::spread(inverse, i);
    return ~(sum >= 1.0);
}

template <class Layout, int K>
LUCE_INLINE IntVec probabilities(Vec* x, double temperature, double) {
    Vec low[K], power[K];
    take_down<Layout, K, double>(x, low, temperature, Layout::reduce(x, Max()));
    IntVec tiny = {};
    Sum e[K];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) {
        const Vec value = exp_parts(at_least(x[i], Vec{} - REACH), low[i], power[i]);
        tiny |= power[i] < -1000.0;
        x[i] = value * power_of_two(at_least(power[i], Vec{} - 1000.0));
        e[i] = {x[i], Vec{}};
    }
    const Sum sum = Layout::reduce(e, Add());
    const Vec total = sum.high + sum.low;
    const Vec inverse = 1.0 / total;
    const Vec inverse_low = inverse * rest_of_inverse(inverse, total, (sum.high - total) + sum.low);
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) {
        const Vec v = Layout::spread(inverse, i);
        const Vec q = x[i] * v;
        x[i] = q + (product_rest(x[i], v, q) + x[i] * Layout::spread(inverse_low, i));
    }
    if (any(tiny))  // what is too small for a normal number is scaled down last, and rounded once
        for (int i = 0; i < K; ++i) x[i] *= power[i] < -1000.0 ? power_of_two(power[i] + 1000.0) : Vec{} + 1.0;
    return ~(total >= 1.0);
}

// What the exponentials of logarithms are summed as.
template <class T>
using Term = std::conditional_t<sizeof(T) == 8, Sum, Vec>;

// e^(d + low) for d = z - m <= 0, but 0 for a top logit itself
template <class T>
LUCE_INLINE Term<T> below_top(Vec d, Vec low) {
    const IntVec top = d == 0.0;
    if constexpr (sizeof(T) == 8) {
        Vec power, lost;
        const Vec e = exp_parts(at_least(d, Vec{} - REACH), low, power, lost);
        return {top ? Vec{} : times_power(e, power), top ? Vec{} : times_power(lost, power)};
    } else {
        return top | (d < -400.0) ? Vec{} : exp_single(at_least(d, Vec{} - 400.0));
    }
}

// ln(1 + below + others), others whole numbers: the top logits but one. In float32 there is no need of the second part.
LUCE_INLINE Sum log_of_sum(Vec below, Vec others) { return {log1p_lane(below + others), Vec{}}; }
LUCE_INLINE Sum log_of_sum(Sum below, Vec others) {
    const Sum rest = Add()(below, Sum{others, Vec{}});
    const Vec u = rest.high + rest.low;
    Vec lost;
    const Vec log_sum = log1p_parts(u, rest.low - (u - rest.high), lost);
    return {log_sum, lost};
}

// Logarithms by the top logit m: (z - m) - ln(1 + rest), rest the sum of exp(z - m) over all but one top logit.
template <class Layout, int K, class T>
LUCE_INLINE IntVec logarithms(Vec* x, double temperature, Vec& total) {
    const Vec top = Layout::reduce(x, Max());
    Vec low[K], ties[K];
    Term<T> e[K];
    take_down<Layout, K, T>(x, low, temperature, top);
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) {
        e[i] = below_top<T>(x[i], low[i]);
        ties[i] = x[i] == 0.0 ? Vec{} + 1.0 : Vec{};
    }
    const Sum log_sum = log_of_sum(Layout::reduce(e, Add()), Layout::reduce(ties, Add()) - 1.0);
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
        x[i] = (x[i] - Layout::spread(log_sum.high, i)) + (low[i] - Layout::spread(log_sum.low, i));
    total = plus(top, log_sum);
    return ~(total - total == 0.0);
}

// ---------------------------------------------------------------------------------------------------------------------
// all rows of a task

// The logits of row `lane` of a group that begins at z.
template <class Layout, int K, class T>
LUCE_INLINE Index place(int lane, int k, Index class_stride) {
    return Layout::row_major ? lane * K + k : lane + k * class_stride;
}

// Sets the results of the declined rows of a group right, number by number.
template <class Layout, int K, class T, Softmax KIND>
static __attribute__((noinline)) void mend(const SoftmaxTask<T>& t, const T* z, IntVec declined, Vec* x, Vec& total) {
    double y[K * WIDTH], row[K];
    for (int i = 0; i < K; ++i) store(y + i * WIDTH, x[i]);
    for (int l = 0; l < WIDTH; ++l) {
        if (!declined[l]) continue;
        for (int k = 0; k < K; ++k) row[k] = static_cast<double>(z[place<Layout, K, T>(l, k, t.class_stride)]);
        total[l] = row_alone(KIND, row, K, t.temperature);
        for (int k = 0; k < K; ++k) y[Layout::place(l, k)] = row[k];
    }
    for (int i = 0; i < K; ++i) x[i] = load(y + i * WIDTH);
}

// WIDTH rows through registers: z in, out or total out.
template <class Layout, int K, class T, Softmax KIND>
LUCE_INLINE void group(const SoftmaxTask<T>& t, const T* z, T* out, T* totals) {
    // from register to register
    const Index step = Layout::row_major ? WIDTH : t.class_stride, out_step = Layout::row_major ? WIDTH : t.out_stride;
    Vec x[K], total = {};
    IntVec declined;
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) x[i] = widen(z + i * step);
    if constexpr (KIND == Softmax::probabilities)
        declined = probabilities<Layout, K>(x, t.temperature, T());
    else
        declined = logarithms<Layout, K, T>(x, t.temperature, total);
    if (__builtin_expect(any(declined), false)) {
        Vec mended[K], mended_total = total;
        for (int i = 0; i < K; ++i) mended[i] = x[i];
        mend<Layout, K, T, KIND>(t, z, declined, mended, mended_total);
        for (int i = 0; i < K; ++i) x[i] = mended[i];
        total = mended_total;
    }
    if constexpr (KIND == Softmax::total) {
        narrow(totals, total);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < K; ++i) narrow(out + i * out_step, x[i]);
    }
}

// Fewer than WIDTH rows: padded with zeros, by the same way.
template <class Layout, int K, class T, Softmax KIND>
static __attribute__((noinline)) void part_of_group(SoftmaxTask<T> t, const T* z, T* out, T* totals, int rows) {
    T padded[K * WIDTH] = {}, results[K * WIDTH], padded_totals[WIDTH];
    for (int l = 0; l < rows; ++l)
        for (int k = 0; k < K; ++k) padded[Layout::place(l, k)] = z[place<Layout, K, T>(l, k, t.class_stride)];
    const Index out_stride = t.out_stride;
    t.class_stride = t.out_stride = Layout::row_major ? 1 : WIDTH;
    group<Layout, K, T, KIND>(t, padded, results, padded_totals);
    for (int l = 0; l < rows; ++l) {
        if (KIND == Softmax::total) totals[l] = padded_totals[l];
        for (int k = 0; KIND != Softmax::total && k < K; ++k)
            out[place<Layout, K, T>(l, k, out_stride)] = results[Layout::place(l, k)];
    }
}

template <class Layout, int K, class T, Softmax KIND>
static void groups(const SoftmaxTask<T>& t) {
    const Index step = Layout::row_major ? K * WIDTH : WIDTH;
    const T* z = t.z;
    T *out = t.out, *totals = t.total;
    Index left = t.rows;
    for (; left >= WIDTH; left -= WIDTH, z += step) {
        group<Layout, K, T, KIND>(t, z, out, totals);
        if (KIND == Softmax::total) totals += WIDTH;
        if (KIND != Softmax::total) out += step;
    }
    if (left > 0) part_of_group<Layout, K, T, KIND>(t, z, out, totals, static_cast<int>(left));
}

template <class Layout, int K, class T>
static void by_kind(const SoftmaxTask<T>& t) {
    if (t.kind == Softmax::probabilities) return groups<Layout, K, T, Softmax::probabilities>(t);
    if (t.kind == Softmax::logarithms) return groups<Layout, K, T, Softmax::logarithms>(t);
    groups<Layout, K, T, Softmax::total>(t);
}

template <class T, int K = 2>
static void few_classes(const SoftmaxTask<T>& t) {
    if constexpr (K <= FEW) {
        if (t.classes != K) return few_classes<T, K + 1>(t);
        t.class_stride == 1 ? by_kind<RowMajor<K>, K, T>(t) : by_kind<ClassMajor<K>, K, T>(t);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// more classes than FEW: either one row, WIDTH of its classes at a time, or WIDTH rows, class by class. Sums go to
// PARTIALS partial sums by k modulo PARTIALS, which are then folded in halves.

constexpr int PARTIALS = 16;

template <class E, class Op>
LUCE_INLINE E fold(E* p, int n, Op op) {
    while (n > 1) {
        n /= 2;
        for (int j = 0; j < n; ++j) p[j] = op(p[j], p[j + n]);
    }
    return p[0];
}

// Lane l of the result is the lane that lies APART away, back and forth.
template <int APART>
struct Across {
    static constexpr int lane(int l) { return l ^ APART; }
};

// The fold of all lanes, in each of them.
template <int APART = WIDTH / 2, class E, class Op>
LUCE_INLINE E fold_lanes(E v, Op op) {
    if constexpr (APART == 0)
        return v;
    else
        return fold_lanes<APART / 2>(op(v, pick<Across<APART>>(v, v)), op);
}

template <int... L>
LUCE_INLINE IntVec lane_numbers(Lanes<L...>) {
    return IntVec{L...};
}

// a in the first n lanes, b in the others
LUCE_INLINE Vec first_lanes(int n, Vec a, Vec b) { return lane_numbers(AllLanes()) < n ? a : b; }

// Lane l is lane l + by of v; what the last lanes hold does not matter.
LUCE_INLINE Vec move_down(Vec v, int by) {
#if defined(__clang__)
    Vec out = v;
    for (int l = 0; l + by < WIDTH; ++l) out[l] = v[l + by];
    return out;
#else
    return __builtin_shuffle(v, lane_numbers(AllLanes()) + by);
#endif
}

// What the passes below need of a layout. Register i holds `steps` numbers that go to partial sum i % SETS.
template <class T>
struct AlongRow {
    static constexpr int SETS = PARTIALS / WIDTH;
    const T* z;
    T* out;
    Index classes;

    AlongRow(const SoftmaxTask<T>& t, Index row, int) : z(t.z + row * t.classes), out(t.out), classes(t.classes) {
        if (out) out += row * t.classes;
    }
    Index registers() const { return (classes + WIDTH - 1) / WIDTH; }
    static bool declines(IntVec mask, int) { return any(mask); }
    int inside(Index i) const { return classes - i * WIDTH < WIDTH ? static_cast<int>(classes - i * WIDTH) : WIDTH; }
    Vec read(Index i) const { return widen(z + i * WIDTH); }
    void write(Index i, Vec v) const { narrow(out + i * WIDTH, v); }
    // A row has more than WIDTH numbers: the last ones of a whole register, moved to its front.
    Vec read_last(Index i, double beyond) const {
        const int n = inside(i);
        return first_lanes(n, move_down(widen(z + classes - WIDTH), WIDTH - n), broadcast(beyond));
    }
    Vec only_inside(Index i, Vec v) const { return first_lanes(inside(i), v, Vec{}); }
    void write_last(Index i, Vec v) const {
        T last[WIDTH];
        narrow(last, v);
        const int n = inside(i);
        for (int l = 0; l < n; ++l) out[i * WIDTH + l] = last[l];
    }
    template <class E, class Op>
    static E whole(E* sets, Op op) {
        return fold_lanes(fold(sets, SETS, op), op);
    }
};

template <class T>
struct AcrossRows {
    static constexpr int SETS = PARTIALS;
    const T* z;
    T* out;
    Index classes, stride, out_stride;
    int rows;

    AcrossRows(const SoftmaxTask<T>& t, Index row, int n)
        : z(t.z + row),
          out(t.out ? t.out + row : nullptr),
          classes(t.classes),
          stride(t.class_stride),
          out_stride(t.out_stride),
          rows(n) {}
    Index registers() const { return classes; }
    static bool declines(IntVec mask, int lane) { return mask[lane] != 0; }
    Vec read(Index i) const {
        if (rows == WIDTH) return widen(z + i * stride);
        Vec v = {};
        for (int l = 0; l < rows; ++l) v[l] = static_cast<double>(z[i * stride + l]);
        return v;
    }
    Vec read_last(Index i, double) const { return read(i); }
    Vec only_inside(Index, Vec v) const { return v; }
    void write(Index i, Vec v) const {
        if (rows == WIDTH) return narrow(out + i * out_stride, v);
        for (int l = 0; l < rows; ++l) out[i * out_stride + l] = static_cast<T>(v[l]);
    }
    void write_last(Index i, Vec v) const { write(i, v); }
    template <class E, class Op>
    static E whole(E* sets, Op op) {
        return fold(sets, SETS, op);
    }
};

// body(i, j) for every register i, j = i % SETS known when compiled: partial sums stay in registers.
template <class Layout, class Body>
LUCE_INLINE void over_registers(const Layout& x, const Body& body) {
    constexpr int SETS = Layout::SETS;
    const Index n = x.registers();
    Index i = 0;
    for (; i + SETS < n; i += SETS)  // all but the last ones, which may be partly filled
#pragma GCC unroll 16
        for (int j = 0; j < SETS; ++j) body(i + j, j, false);
#pragma GCC unroll 16
    for (int j = 0; j < SETS; ++j)
        if (i + j < n) body(i + j, j, i + j + 1 == n);
}

template <class Layout>
LUCE_INLINE Vec top_of(const Layout& x) {
    Vec sets[Layout::SETS];
#pragma GCC unroll 16
    for (int j = 0; j < Layout::SETS; ++j) sets[j] = broadcast(-__builtin_inf());
    over_registers(x, [&](Index i, int j, bool last) __attribute__((always_inline)) {
        sets[j] = larger(last ? x.read_last(i, -__builtin_inf()) : x.read(i), sets[j]);
    });
    return Layout::whole(sets, Max());
}

// `scratch` holds the exponentials between two passes: registers() x WIDTH numbers. Before a pass writes results,
// `rescue` is told which rows it declines (lanes; along a row all lanes are that row), since results may lie on the
// logits.
template <class Layout, class Rescue>
LUCE_INLINE void wide_probabilities(const Layout& x, double temperature, double* scratch, const Rescue& rescue, float) {
    const Vec top = top_of(x);
    Vec sets[Layout::SETS] = {};
    over_registers(x, [&](Index i, int j, bool last) __attribute__((always_inline)) {
        Vec low;
        const Vec z = last ? x.read_last(i, 0.0) : x.read(i);
        Vec e = exp_single(at_least(below<float>(z, top, temperature, low), Vec{} - 400.0));
        if (last) e = x.only_inside(i, e);
        store(scratch + i * WIDTH, e);
        sets[j] += e;
    });
    const Vec sum = Layout::whole(sets, Add()), inverse = 1.0 / sum;
    rescue(~(sum >= 1.0));
    over_registers(x, [&](Index i, int, bool last) __attribute__((always_inline)) {
        const Vec p = load(scratch + i * WIDTH) * inverse;
        last ? x.write_last(i, p) : x.write(i, p);
    });
}

template <class Layout, class Rescue>
LUCE_INLINE void wide_probabilities(const Layout& x, double temperature, double* scratch, const Rescue& rescue,
                                    double) {
    const Vec top = top_of(x);
    Sum sets[Layout::SETS] = {};
    IntVec tiny = {};
    over_registers(x, [&](Index i, int j, bool last) __attribute__((always_inline)) {
        Vec low, power;
        const Vec d = below<double>(last ? x.read_last(i, -__builtin_inf()) : x.read(i), top, temperature, low);
        Vec e = exp_parts(at_least(d, Vec{} - REACH), low, power);
        // what is below every double counts as 0; a row with subnormal results is declined
        tiny |= (power < -1000.0) & (power > -1090.0);
        e = power < -1000.0 ? Vec{} : e * power_of_two(at_least(power, Vec{} - 1000.0));
        if (last) e = x.only_inside(i, e);
        store(scratch + i * WIDTH, e);
        sets[j] = Add()(sets[j], Sum{e, Vec{}});
    });
    const Sum sum = Layout::whole(sets, Add());
    const Vec total = sum.high + sum.low, inverse = 1.0 / total;
    const Vec inverse_low = inverse * rest_of_inverse(inverse, total, (sum.high - total) + sum.low);
    rescue(tiny | ~(total >= 1.0));
    over_registers(x, [&](Index i, int, bool last) __attribute__((always_inline)) {
        const Vec e = load(scratch + i * WIDTH), q = e * inverse;
        const Vec p = q + (product_rest(e, inverse, q) + e * inverse_low);
        last ? x.write_last(i, p) : x.write(i, p);
    });
}

template <class T, class Layout, class Rescue>
LUCE_INLINE Vec wide_logarithms(const Layout& x, double temperature, bool write, const Rescue& rescue) {
    const Vec top = top_of(x);
    const auto difference = [&](Index i, bool last, Vec& low) __attribute__((always_inline)) {
        return below<T>(last ? x.read_last(i, -__builtin_inf()) : x.read(i), top, temperature, low);
    };
    Vec ties[Layout::SETS] = {};
    Term<T> sets[Layout::SETS] = {};
    // beyond the end of a row z is -inf, which adds 0
    over_registers(x, [&](Index i, int j, bool last) __attribute__((always_inline)) {
        Vec low;
        const Vec d = difference(i, last, low);
        ties[j] += d == 0.0 ? Vec{} + 1.0 : Vec{};
        sets[j] = Add()(sets[j], below_top<T>(d, low));
    });
    const Sum log_sum = log_of_sum(Layout::whole(sets, Add()), Layout::whole(ties, Add()) - 1.0);
    const Vec total = plus(top, log_sum);
    rescue(~(total - total == 0.0));
    if (write)
        over_registers(x, [&](Index i, int, bool last) __attribute__((always_inline)) {
            Vec low;
            const Vec d = difference(i, last, low);
            const Vec result = (d - log_sum.high) + (low - log_sum.low);
            last ? x.write_last(i, result) : x.write(i, result);
        });
    return total;
}

// Sets rows of logits that the passes decline right, number by number. They were kept before results could lie on them.
template <class T>
class Declined {
public:
    Declined(const SoftmaxTask<T>& t, Index first, int rows, double* room)
        : t_(t), first_(first), rows_(rows), room_(room) {}

    template <class Layout>
    __attribute__((noinline)) void keep(IntVec declined) {
        for (int l = 0; l < rows_; ++l) {
            if (!Layout::declines(declined, l)) continue;
            which_ |= 1 << l;
            for (Index k = 0; k < t_.classes; ++k)
                room_[l * t_.classes + k] = static_cast<double>(t_.z[at(l, k, t_.class_stride)]);
        }
    }
    bool some() const { return which_ != 0; }
    __attribute__((noinline)) void mend(Vec& total) {
        for (int l = 0; l < rows_; ++l) {
            if (!(which_ >> l & 1)) continue;
            double* row = room_ + l * t_.classes;
            total[l] = row_alone(t_.kind, row, t_.classes, t_.temperature);
            for (Index k = 0; t_.kind != Softmax::total && k < t_.classes; ++k)
                t_.out[at(l, k, t_.out_stride)] = static_cast<T>(row[k]);
        }
    }

private:
    Index at(int row, Index k, Index class_stride) const {
        return t_.class_stride == 1 ? (first_ + row) * t_.classes + k : first_ + row + k * class_stride;
    }
    const SoftmaxTask<T>& t_;
    Index first_;
    int rows_, which_ = 0;
    double* room_;
};

// `rows` rows from `first` on: one along a row, up to WIDTH across.
template <class T, template <class> class Layout>
LUCE_INLINE void wide_rows(const SoftmaxTask<T>& t, Index first, int rows) {
    const Layout<T> x(t, first, rows);
    Declined<T> declined(t, first, rows, t.scratch + x.registers() * WIDTH);
    const auto rescue = [&](IntVec mask) __attribute__((always_inline)) {
        if (__builtin_expect(any(mask), false)) declined.template keep<Layout<T>>(mask);
    };
    Vec total = {};
    if (t.kind == Softmax::probabilities)
        wide_probabilities(x, t.temperature, t.scratch, rescue, T());
    else
        total = wide_logarithms<T>(x, t.temperature, t.kind == Softmax::logarithms, rescue);
    if (__builtin_expect(declined.some(), false)) {
        Vec mended = total;
        declined.mend(mended);
        total = mended;
    }
    if (t.kind == Softmax::total)
        for (int l = 0; l < rows; ++l) t.total[first + l] = static_cast<T>(total[l]);
}

// The one class there is has probability 1.
template <class T>
static void one_class(const SoftmaxTask<T>& t) {
    for (Index r = 0; r < t.rows; ++r) {
        double z = static_cast<double>(t.z[r]);
        const double total = row_alone(t.kind, &z, 1, t.temperature);
        if (t.kind == Softmax::total)
            t.total[r] = static_cast<T>(total);
        else
            t.out[r] = static_cast<T>(z);
    }
}

static Index scratch_for(Index classes) { return (2 * classes + WIDTH) * WIDTH; }

template <class T>
static void rows_of(const SoftmaxTask<T>& t) {
    if (t.classes == 1) return one_class(t);
    if (t.classes <= FEW) return few_classes<T>(t);
    const int step = t.class_stride == 1 ? 1 : WIDTH;
    if (step == 1)
        for (Index r = 0; r < t.rows; ++r) wide_rows<T, AlongRow>(t, r, 1);
    else
        for (Index r = 0; r < t.rows; r += step)
            wide_rows<T, AcrossRows>(t, r, t.rows - r < step ? static_cast<int>(t.rows - r) : step);
}

// ---------------------------------------------------------------------------------------------------------------------
// number by number

// One exp(-|z|) gives both tails: 1 / (1 + e) for z >= 0, e / (1 + e) below; the logarithm is min(z, 0) - ln(1 + e).
template <class T>
LUCE_INLINE Vec sigmoid_of(Vec z, bool logarithm) {
    const Vec x = at_least(z < 0.0 ? z : -z, Vec{} - (sizeof(T) == 8 ? REACH : 400.0));
    Vec e;
    if constexpr (sizeof(T) == 8) {
        Vec power;
        e = exp_parts(x, Vec{}, power);
        e = times_power(e, power);
    } else {
        e = exp_single(x);
    }
    if (logarithm) return (z < 0.0 ? z : z * 0.0) - log1p_lane(e);
    const Vec total = 1.0 + e, inverse = 1.0 / total;
    const Vec inverse_low = inverse * rest_of_inverse(inverse, total, e - (total - 1.0));
    const Vec q = e * inverse;
    const Vec small = sizeof(T) == 8 ? q + (product_rest(e, inverse, q) + e * inverse_low) : q;
    return z < 0.0 ? small : inverse + inverse_low;
}

template <class T>
static void sigmoid(const T* z, Index n, bool logarithm, T* out) {
    Index i = 0;
    for (; i + WIDTH <= n; i += WIDTH) narrow(out + i, sigmoid_of<T>(widen(z + i), logarithm));
    if (i == n) return;
    T last[WIDTH] = {};
    __builtin_memcpy(last, z + i, (n - i) * sizeof(T));
    narrow(last, sigmoid_of<T>(widen(last), logarithm));
    __builtin_memcpy(out + i, last, (n - i) * sizeof(T));
}

// ---------------------------------------------------------------------------------------------------------------------

static void stream(void* to, const void* from, Index bytes) {
    char* target = static_cast<char*>(to);
    const char* source = static_cast<const char*>(from);
#if defined(__SSE2__)
    const Index head = -reinterpret_cast<std::intptr_t>(target) & 63;
    if (bytes >= head + 64) {
        __builtin_memcpy(target, source, head);
        Index i = head;
        for (; i + 64 <= bytes; i += 64)
            for (int part = 0; part < 64; part += 16)
                _mm_stream_si128(reinterpret_cast<__m128i*>(target + i + part),
                                 _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i + part)));
        __builtin_memcpy(target + i, source + i, bytes - i);
        return;
    }
#endif
    __builtin_memcpy(target, source, bytes);
}

}  // namespace

extern const SoftmaxKernels softmax_table;
const SoftmaxKernels softmax_table = {rows_of<float>,  rows_of<double>, sigmoid<float>,
                                      sigmoid<double>, scratch_for,     stream};

}  // namespace LUCE_ISA
}  // namespace luce
