// The formulas of the softmax family on one number or on a register of them, exact to far beyond the result, and one
// row of any length worked number by number. docs/numerics.md has the error bounds and why they hold. Only included by
// the files that are compiled once per instruction set, inside its namespace.
#pragma once
#include "lanes.h"

constexpr double REACH = 800.0;  // e^-REACH is 0 in double: lower logits count as if they were so much below the top
constexpr int PARTIALS = 16;     // partial sums of a row, by k modulo PARTIALS, which are then folded in halves

template <class T>
constexpr bool is_double = sizeof(T) == 8;

// A sum in two parts, the second what the first has lost.
struct Sum {
    Vec high, low;
};

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

// The bits of 2^(j / 8) for j = 0 .. 7, less j << 49: with n << 49 added they are those of 2^(n / 8), n = 8 q + j.
alignas(64) constexpr std::int64_t EIGHTHS[8] = {0x3ff0000000000000, 0x3fef72b83c7d517b, 0x3fef06fe0a31b715,
                                                 0x3feebfdad5362a27, 0x3feea09e667f3bcd, 0x3feeace5422aa0db,
                                                 0x3feee89f995ad3ad, 0x3fef5818dcfba487};

// EIGHTHS[n % 8] in each lane
LUCE_INLINE IntVec eighths(IntVec n) {
#if defined(__AVX512F__)
    return (IntVec)_mm512_permutexvar_epi64((__m512i)n, _mm512_load_si512(EIGHTHS));
#elif defined(__AVX2__)
    return (IntVec)_mm256_i64gather_epi64(reinterpret_cast<const long long*>(EIGHTHS), (__m256i)(n & 7), 8);
#else
    return IntVec{EIGHTHS[n[0] & 7], EIGHTHS[n[1] & 7]};
#endif
}

// e^x for |x| <= 400 to 2^-33.5, enough for a result that is rounded to float32: x = n ln2 / 8 + r, |r| <= ln2 / 16.
LUCE_INLINE Vec exp_single(Vec x) {
    const Vec shifted = x * 11.541560327111707 + MAGIC;
    const IntVec n = to_bits(shifted);
    const Vec r = x - (shifted - MAGIC) * 0.08664339756999316;
    const Vec power = from_bits<Vec>(eighths(n) + (n << 49));
    Vec p = r * 0.041669925056396565 + 0.16668621722344892;
    p = p * r + 0.4999999984711755;
    p = p * r + 0.9999999908269249;
    return power * (p * r) + power;
}

// ln(1 + u) for u >= 0 to 2^-35: log1p_lane with a polynomial of fewer terms.
LUCE_INLINE Vec log1p_single(Vec u) {
    IntVec n;
    const Vec s = log1p_reduced(u, n), z = s * s;
    Vec p = z * 0.11665233617449373 + 0.1427541040763865;
    p = p * z + 0.20000060919906075;
    p = p * z + 0.33333333277248542;
    return whole<Vec>(n) * 0.6931471805599453 + 2.0 * (s + s * z * p);
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

// ln(1 + u + low) = result + lost to 2^-57 for u >= 0; the steps of log1p_lane, each with its rest.
template <class V>
LUCE_INLINE V log1p_parts(V u, V low, V& lost) {
    const V w = 1.0 + u;
    Bits<V> n;
    const V m = mantissa(w, n);
    const V less = w > u ? (w - 1.0) - u : (w - u) - 1.0;  // what 1 + u was rounded up by
    const V exact = m - 1.0, rest = (low - less) * power_less<V>(n);
    const V f = exact + rest, f_low = rest - (f - exact);
    const V g = f + 2.0, g_low = f - (g - 2.0);
    const V s = f / g, product = s * g;
    const V s_low = (((f - product) - product_rest(s, g, product)) + (f_low - s * (g_low + f_low))) / g;
    const V z = s * s, p = atanh_series(z), e = whole<V>(n);
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

// The formulas of the fast ways, without a limit on the logits. z is overwritten by the result; gives logsumexp.
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

// The gradient of the cross-entropy of one row, weight (p - onehot(label)), in place of its logits; gives the loss.
static double gradient_alone(double* z, double* room, Index n, Index label, double weight) {
    for (Index k = 0; k < n; ++k) room[k] = z[k];
    row_alone(Softmax::probabilities, z, n, 1.0);
    row_alone(Softmax::logarithms, room, n, 1.0);
    z[label] = __builtin_expm1(room[label]);
    for (Index k = 0; k < n; ++k) z[k] *= weight;
    return -room[label];
}

// ---------------------------------------------------------------------------------------------------------------------
// formulas for a register of numbers of one class, or of one row

// Only differences to the top logit enter, and they are exact: a constant added to all logits changes no bit.
template <class T>
LUCE_INLINE Vec below(Vec z, Vec top, double temperature, Vec& low) {
    if constexpr (is_double<T>) return scaled_difference(z, top, temperature, low);
    low = Vec{};
    return temperature == 1.0 ? z - top : (z - top) / temperature;  // far more digits than float32 keeps
}

// e^(d + low). What is below every double counts as 0; `tiny` tells of results that are subnormal.
template <class T>
LUCE_INLINE Vec exponential(Vec d, Vec low, IntVec& tiny) {
    if constexpr (is_double<T>) {
        Vec power;
        const Vec e = exp_parts(at_least(d, Vec{} - REACH), low, power);
        tiny |= (power < -1000.0) & (power > -1090.0);
        return power < -1000.0 ? Vec{} : e * power_of_two(at_least(power, Vec{} - 1000.0));
    } else {
        return exp_single(at_least(d, Vec{} - 400.0));
    }
}

// What exponentials are summed as: float64 needs what a sum has lost.
template <class T>
using Term = std::conditional_t<is_double<T>, Sum, Vec>;
template <class T>
LUCE_INLINE Term<T> term(Vec high, Vec low = Vec{}) {
    if constexpr (is_double<T>)
        return {high, low};
    else
        return high;
}
LUCE_INLINE Vec high_of(Vec v) { return v; }
LUCE_INLINE Vec high_of(Sum v) { return v.high; }
LUCE_INLINE Vec low_of(Vec) { return Vec{}; }
LUCE_INLINE Vec low_of(Sum v) { return v.low; }

// 1 / sum
template <class T>
LUCE_INLINE Term<T> inverse_of(Term<T> sum) {
    if constexpr (is_double<T>) {
        const Vec total = sum.high + sum.low, inverse = 1.0 / total;
        return {inverse, inverse * rest_of_inverse(inverse, total, (sum.high - total) + sum.low)};
    } else {
        return 1.0 / sum;
    }
}

template <class T>
LUCE_INLINE Vec times(Vec e, Term<T> inverse) {
    if constexpr (is_double<T>) {
        const Vec q = e * inverse.high;
        return q + (product_rest(e, inverse.high, q) + e * inverse.low);
    } else {
        return e * inverse;
    }
}

// e^(d + low) of a logit below the top, 0 for a top logit itself
template <class T>
LUCE_INLINE Term<T> below_top(IntVec top, Vec d, Vec low) {
    if constexpr (is_double<T>) {
        Vec power, lost;
        const Vec e = exp_parts(at_least(d, Vec{} - REACH), low, power, lost);
        return {top ? Vec{} : times_power(e, power), top ? Vec{} : times_power(lost, power)};
    } else {
        return top | (d < -400.0) ? Vec{} : exp_single(at_least(d, Vec{} - 400.0));
    }
}

// ln(1 + below + others), others whole numbers: the top logits but one. In float32 there is no need of the second part.
LUCE_INLINE Sum log_of_sum(Vec below, Vec others) { return {log1p_single(below + others), Vec{}}; }
LUCE_INLINE Sum log_of_sum(Sum below, Vec others) {
    const Sum rest = Add()(below, Sum{others, Vec{}});
    const Vec u = rest.high + rest.low;
    Vec lost;
    const Vec log_sum = log1p_parts(u, rest.low - (u - rest.high), lost);
    return {log_sum, lost};
}

// Loss ln(1 + rest) - d of a row whose label lies d below the top and has the exponential e.
template <class T>
LUCE_INLINE Vec loss_of(Term<T> others, Vec d, Vec low, Vec e) {
    const IntVec at_top = d == 0.0;  // then `others` is what the sum has beside 1
    const Term<T> more = term<T>(at_top ? Vec{} : e), one = term<T>(at_top ? Vec{} : Vec{} - 1.0);
    const Sum log_sum = log_of_sum(Add()(Add()(others, one), more), Vec{});
    return (log_sum.high - d) + (log_sum.low - low);
}

// ---------------------------------------------------------------------------------------------------------------------
// sums

template <int COUNT, class E>
LUCE_INLINE E fold(E* p) {
    if constexpr (COUNT == 1) {
        return p[0];
    } else {
        constexpr int HALF = (COUNT + 1) / 2;
#pragma GCC unroll 16
        for (int j = 0; j < COUNT - HALF; ++j) p[j] = Add()(p[j], p[j + HALF]);
        return fold<HALF>(p);
    }
}

// The sum of get(k) over the classes; COUNT is how many they are, or PARTIALS if there are at least as many.
template <int COUNT, class Get>
LUCE_INLINE auto sum_of(Index classes, const Get& get) {
    decltype(get(0)) p[COUNT];
#pragma GCC unroll 16
    for (int j = 0; j < COUNT; ++j) p[j] = get(j);
    if constexpr (COUNT == PARTIALS) {
        Index k = COUNT;
        for (; k + COUNT <= classes; k += COUNT)
#pragma GCC unroll 16
            for (int j = 0; j < COUNT; ++j) p[j] = Add()(p[j], get(k + j));
#pragma GCC unroll 16
        for (int j = 0; j < COUNT; ++j)
            if (k + j < classes) p[j] = Add()(p[j], get(k + j));
    }
    return fold<COUNT>(p);
}

// done(v, sum of get(k, v) over the classes) for each of the lines.
template <int COUNT = 2, class Get, class Done>
LUCE_INLINE void sum_lines(Index classes, int lines, const Get& get, const Done& done) {
    if constexpr (COUNT < PARTIALS) {
        if (classes != COUNT) return sum_lines<COUNT + 1>(classes, lines, get, done);
    }
    for (int v = 0; v < lines; ++v)
        done(v, sum_of<COUNT>(classes, [&](Index k) __attribute__((always_inline)) { return get(k, v); }));
}
