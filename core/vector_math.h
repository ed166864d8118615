// exp, log and log1p in double as straight-line code that compilers turn into SIMD lanes.
// Only included by kernels.cpp, inside the namespace of one instruction set.
// Error: exp <= 1 ulp for results that are normal numbers, log and log1p <= 2 ulp (tests/test_functional.py).
#pragma once
#include <cstdint>

static inline double from_bits(std::int64_t b) {
    double d;
    __builtin_memcpy(&d, &b, 8);
    return d;
}

static inline std::int64_t to_bits(double d) {
    std::int64_t b;
    __builtin_memcpy(&b, &d, 8);
    return b;
}

// e^x for x <= 709.7; 0 below -745.2, subnormal results rounded once; NaN stays NaN.
// x = n ln2 + r, |r| <= ln2 / 2 (Cody-Waite in two parts), Taylor polynomial of degree 13 for e^r
// (its remainder is below 2^-57), result scaled by 2^n in two exact halves but the last.
static inline double exp_lane(double x) {
    const double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
    x = x < -760.0 ? -760.0 : x;
    const double shifted = x * 1.4426950408889634 + magic;
    const double n = shifted - magic;
    const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.6059043836821613e-10;
    p = p * r + 2.08767569878681e-09;
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
    p = p * (r * r) + r;
    p = p + 1.0;
    const std::int64_t k = to_bits(shifted) - to_bits(magic);
    const std::int64_t half = k >> 1;
    const double a = from_bits((half + 1023) << 52);
    const double b = from_bits((k - half + 1023) << 52);
    return p * a * b;
}

// ln x for positive normal x. x = 2^n m, m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh((m-1)/(m+1)).
static inline double log_lane(double x) {
    const std::int64_t bits = to_bits(x) - 0x3fe6a09e667f3bcdLL;  // sqrt(1/2)
    const std::int64_t n = bits >> 52;
    const double m = from_bits(to_bits(x) - (n << 52));
    const double f = m - 1.0;
    const double s = f / (m + 1.0);
    const double z = s * s;
    double p = 1.0 / 23;
    p = p * z + 1.0 / 21;
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
    const double magic = 6755399441055744.0;
    const double e = from_bits(to_bits(magic) + n) - magic;
    return e * 0.693147180369123816490 + (2.0 * s + (2.0 * s * z * p + e * 1.90821492927058770002e-10));
}

// ln(1 + u) for u >= 0; the rounding of 1 + u is put back by the second term.
static inline double log1p_lane(double u) {
    const double w = 1.0 + u;
    return log_lane(w) + (u - (w - 1.0)) / w;
}
