// Registers of doubles and of floats: loads, stores, the larger of two, permutations.
// Only included by the files that are compiled once per instruction set, inside its namespace.
#pragma once
#include "vector_math.h"

typedef float Floats __attribute__((vector_size(WIDTH * 8)));
typedef std::int32_t FloatPlaces __attribute__((vector_size(WIDTH * 8)));

template <class R>
struct Register;
template <>
struct Register<Vec> {
    typedef IntVec Places;
    static constexpr int LANES = WIDTH;
};
template <>
struct Register<Floats> {
    typedef FloatPlaces Places;
    static constexpr int LANES = 2 * WIDTH;
};
template <class T>
struct Whole;  // the register full of T
template <>
struct Whole<double> {
    typedef Vec type;
};
template <>
struct Whole<float> {
    typedef Floats type;
};

LUCE_INLINE Floats load(const float* p) {
    Floats v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
LUCE_INLINE void store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof v); }

// The larger; b if either is NaN. (The compiler would not take the one instruction for it by itself.)
#if defined(__AVX512F__)
LUCE_INLINE Vec larger(Vec a, Vec b) { return (Vec)_mm512_max_pd((__m512d)a, (__m512d)b); }
LUCE_INLINE Floats larger(Floats a, Floats b) { return (Floats)_mm512_max_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
LUCE_INLINE Vec larger(Vec a, Vec b) { return (Vec)_mm256_max_pd((__m256d)a, (__m256d)b); }
LUCE_INLINE Floats larger(Floats a, Floats b) { return (Floats)_mm256_max_ps((__m256)a, (__m256)b); }
#else
LUCE_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }
LUCE_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }
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

// WIDTH numbers as doubles, and back. (GCC would take the widening of float32 apart.)
LUCE_INLINE Vec widen(const double* p) { return load(p); }
LUCE_INLINE Vec widen(const float* p) {
#if defined(__AVX512F__)
    return (Vec)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif defined(__AVX2__)
    return (Vec)_mm256_cvtps_pd(_mm_loadu_ps(p));
#else
    return Vec{p[0], p[1]};
#endif
}
LUCE_INLINE void narrow(double* p, Vec x) { store(p, x); }
LUCE_INLINE void narrow(float* p, Vec x) {
#if defined(__AVX512F__)
    _mm256_storeu_ps(p, _mm512_cvtpd_ps((__m512d)x));
#elif defined(__AVX2__)
    _mm_storeu_ps(p, _mm256_cvtpd_ps((__m256d)x));
#else
    p[0] = static_cast<float>(x[0]);
    p[1] = static_cast<float>(x[1]);
#endif
}

template <int... I>
struct Lanes {};
template <int N, int... I>
struct CountUp : CountUp<N - 1, N - 1, I...> {};
template <int... I>
struct CountUp<0, I...> {
    typedef Lanes<I...> type;
};

// Lane l of the result is lane Choice::lane(l) of a, or of b from the number of lanes on.
template <class Choice, class R, int... L>
LUCE_INLINE R pick_lanes(R a, R b, Lanes<L...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, Choice::lane(L)...);
#else
    return __builtin_shuffle(a, b, typename Register<R>::Places{Choice::lane(L)...});
#endif
}
template <class Choice, class R>
LUCE_INLINE R pick(R a, R b) {
    return pick_lanes<Choice>(a, b, typename CountUp<Register<R>::LANES>::type());
}

// e^x for x <= 88; 0 below -87 (Cephes: x = n ln2 + r, a polynomial of degree 5 on r).
LUCE_INLINE Floats exp_float(Floats x) {
    constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const Floats shifted = x * 1.44269504f + magic, n = shifted - magic;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const Floats e = (Floats)((FloatPlaces)p + ((FloatPlaces)shifted << 23));
    return x < -87.0f ? Floats{} : e;
}

// ln x for normal x > 0, by 2 atanh((m - 1) / (m + 1)) of the mantissa m in [sqrt(1/2), sqrt(2)).
LUCE_INLINE Floats log_float(Floats x) {
    const FloatPlaces bits = (FloatPlaces)x, n = (bits - 0x3f3504f3) >> 23;
    const Floats m = (Floats)(bits - (n << 23)), s = (m - 1.0f) / (m + 1.0f), z = s * s;
    Floats p = z * (1.0f / 9) + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    const Floats e = __builtin_convertvector(n, Floats);
    return e * 0.693359375f + (2.0f * s + (2.0f * s * z * p - e * 2.12194440e-4f));
}
