// exp and log1p in double on a register of lanes or on one number: straight-line code, no branches.
// Only included by the files that are compiled once per instruction set, inside its namespace.
// Error: exp <= 1 ulp for results that are normal numbers, log1p <= 2 ulp (tests/test_functional.py).
#pragma once
#include <cstdint>

// A call would move every register to memory and back.
#define LUCE_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int WIDTH = 8;
#elif defined(__AVX2__)
constexpr int WIDTH = 4;
#else
constexpr int WIDTH = 2;
#endif

typedef double Vec __attribute__((vector_size(WIDTH * 8)));
typedef std::int64_t IntVec __attribute__((vector_size(WIDTH * 8)));

LUCE_INLINE Vec load(const double* p) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
LUCE_INLINE void store(double* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
LUCE_INLINE Vec broadcast(double x) { return x - Vec{}; }

template <class V>
struct BitsOf {
    typedef IntVec type;
};
template <>
struct BitsOf<double> {
    typedef std::int64_t type;
};
template <class V>
using Bits = typename BitsOf<V>::type;

template <class V>
LUCE_INLINE V from_bits(Bits<V> b) {
    V d;
    __builtin_memcpy(&d, &b, sizeof d);
    return d;
}

template <class V>
LUCE_INLINE Bits<V> to_bits(V d) {
    Bits<V> b;
    __builtin_memcpy(&b, &d, sizeof b);
    return b;
}

// product_rest(a, b, p) = a * b - p exactly, for p the rounded product.
#if defined(__FMA__) || defined(__aarch64__)
LUCE_INLINE double product_rest(double a, double b, double p) { return __builtin_fma(a, b, -p); }
LUCE_INLINE Vec product_rest(Vec a, Vec b, Vec p) {
    Vec out;
    for (int l = 0; l < WIDTH; ++l) out[l] = __builtin_fma(a[l], b[l], -p[l]);
    return out;
}
#else  // Dekker's product: each factor in two halves of 26 bits
template <class V>
LUCE_INLINE V rest_of_product(V a, V b, V p) {
    const V s = a * 134217729.0, t = b * 134217729.0;
    const V ah = s - (s - a), bh = t - (t - b);
    const V al = a - ah, bl = b - bh;
    return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
}
LUCE_INLINE double product_rest(double a, double b, double p) { return rest_of_product(a, b, p); }
LUCE_INLINE Vec product_rest(Vec a, Vec b, Vec p) { return rest_of_product(a, b, p); }
#endif

constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer

// x = n ln2 + r, |r| <= ln2 / 2 (Cody-Waite in two parts); n is left in the low bits of `shifted`. Gives e^r by its
// Taylor polynomial of degree 13, whose remainder is below 2^-57.
template <class V>
LUCE_INLINE V exp_reduced(V x, V& shifted) {
    shifted = x * 1.4426950408889634 + MAGIC;
    const V n = shifted - MAGIC;
    const V r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    V p = r * 1.6059043836821613e-10 + 2.08767569878681e-09;
    p = p * r + 2.505210838544172e-08;
    p = p * r + 2.755731922398589e-07;
    p = p * r + 2.7557319223985893e-06;
    p = p * r + 2.48015873015873e-05;
    p = p * r + 0.0001984126984126984;
    p = p * r + 0.001388888888888889;
    p = p * r + 0.008333333333333333;
    p = p * r + 0.041666666666666664;
    p = p * r + 0.16666666666666666;
    p = p * r + 0.5;
    return (p * (r * r) + r) + 1.0;
}

// e^x for x <= 709.7; 0 below -745.2, subnormal results rounded once; NaN stays NaN. The result is scaled by 2^n in two
// halves, exact but for the last.
template <class V>
LUCE_INLINE V exp_lane(V x) {
    V shifted;
    x = x < -760.0 ? V{} - 760.0 : x;
    const V p = exp_reduced(x, shifted);
    const Bits<V> k = to_bits(shifted) - to_bits(MAGIC);
    const Bits<V> half = k >> 1;
    return p * from_bits<V>((half + 1023) << 52) * from_bits<V>((k - half + 1023) << 52);
}

// e^x for x <= 0 where results below the normal numbers may count as 0.
template <class V>
LUCE_INLINE V exp_negative(V x) {
    V shifted;
    const V p = exp_reduced(x, shifted);
    const V e = from_bits<V>(to_bits(p) + (to_bits(shifted) << 52));  // the bits of n go to the exponent
    return x < -708.0 ? V{} : e;
}

// 2^n (1 + f) = w for w > 0, 1 + f in [sqrt(1/2), sqrt(2)): gives 1 + f.
template <class V>
LUCE_INLINE V mantissa(V w, Bits<V>& n) {
    n = (to_bits(w) - 0x3fe6a09e667f3bcdLL) >> 52;  // sqrt(1/2)
    return from_bits<V>(to_bits(w) - (n << 52));
}

// 2^-n
template <class V>
LUCE_INLINE V power_less(Bits<V> n) {
    return from_bits<V>((1023 - n) << 52);
}

// n as a double without an int64 -> double instruction (AVX2 has none): n + 1.5 * 2^52 by its bits.
template <class V>
LUCE_INLINE V whole(Bits<V> n) {
    return from_bits<V>(n + to_bits(V{} + MAGIC)) - MAGIC;
}

// 1 + u = 2^n (1 + f), where f keeps what rounding took from 1 + u; gives s = f / (2 + f), ln(1 + f) = 2 atanh(s).
template <class V>
LUCE_INLINE V log1p_reduced(V u, Bits<V>& n) {
    const V w = 1.0 + u, m = mantissa(w, n);
    const V f = (m - 1.0) + (u - (w - 1.0)) * power_less<V>(n);
    return f / (m + 1.0);
}

// (atanh(s) / s - 1) / z for z = s^2, |s| <= 0.172, by its series
template <class V>
LUCE_INLINE V atanh_series(V z) {
    V p = z * (1.0 / 23) + 1.0 / 21;
    p = p * z + 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    return p * z + 1.0 / 3;
}

// ln(1 + u) for u >= 0
template <class V>
LUCE_INLINE V log1p_lane(V u) {
    Bits<V> n;
    const V s = log1p_reduced(u, n), z = s * s, p = atanh_series(z), e = whole<V>(n);
    return e * 0.693147180369123816490 + (2.0 * s + (2.0 * s * z * p + e * 1.90821492927058770002e-10));
}
