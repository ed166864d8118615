// One row of coordinate ascent on the dual (dual_ascent.h), in float: the best distribution over the classes.
// Sums are of 16 lanes whatever the registers. Only included by kernels.cpp, inside its namespace.
#pragma once
#include "lanes.h"

constexpr int ROW_LANES = 16, ROW_PARTS = ROW_LANES / Register<Floats>::LANES;

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

LUCE_INLINE float row_sum(const Floats* sums) {
    float lanes[ROW_LANES];
    __builtin_memcpy(lanes, sums, sizeof lanes);
    for (int half = ROW_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
}

// Every register of so many lanes of an array in turn; f(offset, part).
template <class F>
LUCE_INLINE void each_register(int padded, F f) {
    for (int k = 0; k < padded; k += ROW_LANES)
        for (int part = 0; part < ROW_PARTS; ++part) f(k + part * Register<Floats>::LANES, part);
}

static void dual_row(DualRow& r) {
    const int own = r.own, padded = r.padded;
    float *const z = r.z, *const a = r.a, *const p = r.p, *const u = r.u;

    // p, the loss, and KL(a || p); own class and the others are summed apart, as 1 - p may be tiny
    float most = z[0];
    for (int k = 1; k < r.outputs; ++k) most = z[k] > most ? z[k] : most;
    Floats sums[ROW_PARTS] = {};
    each_register(padded, [&](int k, int) { store(p + k, exp_float(load(z + k) - most)); });
    const double own_part = static_cast<double>(p[own]);
    p[own] = 0.0f;
    each_register(padded, [&](int k, int part) { sums[part] += load(p + k); });
    const double others = static_cast<double>(row_sum(sums)), all = others + own_part, other = others / all;
    r.loss = own_part > others ? -__builtin_log1p(-other) : __builtin_log(all) + static_cast<double>(most - z[own]);
    const double log_all = static_cast<double>(most) + __builtin_log(all);
    const float inverse = static_cast<float>(1.0 / all), log_sum = static_cast<float>(log_all);
    const double left = static_cast<double>(a[own]);  // what all others have
    a[own] = 0.0f;
    Floats divergence[ROW_PARTS] = {}, far[ROW_PARTS] = {};
    each_register(padded, [&](int k, int part) {
        const Floats now = load(a + k), of = load(p + k) * inverse;
        const Floats some = now > 1e-37f ? now : Floats{} + 1e-37f;
        divergence[part] += now * (log_float(some) - (load(z + k) - log_sum)) + (of - now);
        far[part] = larger(far[part], larger(of - now, now - of));
    });
    const double a_own = 1.0 - left;
    r.divergence = static_cast<double>(row_sum(divergence)) + (left - other);
    r.divergence += left < 1.0 ? a_own * (__builtin_log1p(-left) + r.loss) : 0.0;
    float lanes[ROW_LANES], farthest = 0.0f;
    __builtin_memcpy(lanes, far, sizeof lanes);
    for (int l = 0; l < ROW_LANES; ++l) farthest = lanes[l] > farthest ? lanes[l] : farthest;
    r.moved = farthest >= r.unchanged && r.q > 0.0;
    if (!r.moved) return;

    // x + ln x = z + q a + ln q + shift =: y + shift with x = q (the new a), sum x = q: Newton's method on all ln x and
    // shift at once, from above, where it cannot overshoot
    const float q = static_cast<float>(r.q), lift = static_cast<float>(__builtin_log(r.q) - log_all);
    float* const y = z;
    each_register(padded, [&](int k, int) { store(y + k, load(z + k) + (q * load(a + k) + lift)); });
    y[own] = static_cast<float>(static_cast<double>(y[own]) + r.q * a_own);
    each_register(padded, [&](int k, int) {
        const Floats of = load(y + k), start = of > 1.0f ? log_float(larger(of, Floats{} + 1.0f)) : of;
        store(u + k, start);
        store(p + k, exp_float(start));
    });
    float total = 0.0f;
    bool done = false;
    for (int step = 0; step < 30 && !done; ++step) {
        Floats mass[ROW_PARTS] = {}, rise[ROW_PARTS] = {};
        each_register(padded, [&](int k, int part) {
            const Floats x = load(p + k), share = 1.0f / (1.0f + x), back = (x + load(u + k) - load(y + k)) * share;
            mass[part] += x - x * back;
            rise[part] += x * share;
        });
        const float shift = (q - row_sum(mass)) / row_sum(rise);
        Floats sum[ROW_PARTS] = {}, rest[ROW_PARTS] = {};
        each_register(padded, [&](int k, int part) {
            const Floats x = load(p + k), was = load(u + k);
            Floats by = (shift - (x + was - load(y + k))) / (1.0f + x);
            by = by > 4.0f ? Floats{} + 4.0f : by;
            const Floats now = was + by, next = exp_float(now > 80.0f ? Floats{} + 80.0f : now);
            store(u + k, now);
            store(p + k, next);
            sum[part] += next;
            rest[part] += next * (by * by);
        });
        total = row_sum(sum);
        done = row_sum(rest) <= 1e-6f * q && __builtin_fabsf(total - q) <= 1e-5f * q;
    }
    r.moved = done;
    if (!done) return;
    const float scale = 1.0f / total;
    p[own] = 0.0f;
    Floats gone[ROW_PARTS] = {};
    each_register(padded, [&](int k, int part) {
        const Floats now = load(p + k) * scale;
        store(p + k, load(a + k) - now);  // of y - a
        store(a + k, now);
        gone[part] += now;
    });
    const float now_left = row_sum(gone);
    p[own] = static_cast<float>(static_cast<double>(now_left) - left);
    a[own] = now_left;
}
