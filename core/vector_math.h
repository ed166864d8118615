// exp, log and log1p in double on a register of lanes or on one number: straight-line code, no branches.
// Only included by kernels.cpp, inside the namespace of one instruction set.
// Error: exp <= 1 ulp for results that are normal numbers, log and log1p <= 2 ulp (tests/test_functional.py).
#pragma once
#include <cstdint>

typedef double Vec __attribute__((vector_size(WIDTH * 8)));
typedef std::int64_t IntVec __attribute__((vector_size(WIDTH * 8)));

static inline Vec load(const double* p) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(double* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
static inline Vec broadcast(double x) { return x - Vec{}; }

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
static inline V from_bits(Bits<V> b) {
    V d;
    __builtin_memcpy(&d, &b, sizeof d);
    return d;
}

template <class V>
static inline Bits<V> to_bits(V d) {
    Bits<V> b;
    __builtin_memcpy(&b, &d, sizeof b);
    return b;
}

constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer

// x = n ln2 + r, |r| <= ln2 / 2 (Cody-Waite in two parts); n is left in the low bits of `shifted`. Gives e^r by its
// Taylor polynomial of degree 13, whose remainder is below 2^-57.
template <class V>
static inline V exp_reduced(V x, V& shifted) {
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
static inline V exp_lane(V x) {
    V shifted;
    x = x < -760.0 ? V{} - 760.0 : x;
    const V p = exp_reduced(x, shifted);
    const Bits<V> k = to_bits(shifted) - to_bits(MAGIC);
    const Bits<V> half = k >> 1;
    return p * from_bits<V>((half + 1023) << 52) * from_bits<V>((k - half + 1023) << 52);
}

// e^x for x <= 0 where results below the normal numbers may count as 0.
template <class V>
static inline V exp_negative(V x) {
    V shifted;
    const V p = exp_reduced(x, shifted);
    const V e = from_bits<V>(to_bits(p) + (to_bits(shifted) << 52));  // the bits of n go to the exponent
    return x < -708.0 ? V{} : e;
}

// ln x for positive normal x. x = 2^n m, m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh((m-1)/(m+1)).
template <class V>
static inline V log_lane(V x) {
    const Bits<V> bits = to_bits(x) - 0x3fe6a09e667f3bcdLL;  // sqrt(1/2)
    const Bits<V> n = bits >> 52;
    const V m = from_bits<V>(to_bits(x) - (n << 52));
    const V f = m - 1.0;
    const V s = f / (m + 1.0);
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
    // n as a double without an int64 -> double instruction (AVX2 has none): n + 1.5 * 2^52 by its bits.
    const V e = from_bits<V>(n + to_bits(MAGIC)) - MAGIC;
    return e * 0.693147180369123816490 + (2.0 * s + (2.0 * s * z * p + e * 1.90821492927058770002e-10));
}

// ln(1 + u) for u >= 0; the rounding of 1 + u is put back by the second term.
template <class V>
static inline V log1p_lane(V u) {
    const V w = 1.0 + u;
    return log_lane(w) + (u - (w - 1.0)) / w;
}
