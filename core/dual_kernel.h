// One row of coordinate ascent on the dual (dual_ascent.h), in float: the best distribution over the classes.
// Sums are of 16 lanes whatever the registers. Only included by kernels.cpp, inside its namespace.
#pragma once
#include "lanes.h"

constexpr double UNMOVED = 1e-9;  // the share of a distribution by which its row then moves its own logits
constexpr int ROW_LANES = 16, ROW_PARTS = ROW_LANES / Register<Floats>::LANES;

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

// The distribution that is best for a row, times `total`, into p, where its weights move by q > 0; whether it was
// found.
static bool nearest(DualRow& r, double log_all, double a_own, float& total) {
    const int own = r.own, padded = r.padded;
    float *const z = r.z, *const a = r.a, *const p = r.p, *const u = r.u;
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
    return done;
}

static void dual_row(DualRow& r) {
    const int own = r.own, padded = r.padded;
    float *const z = r.z, *const a = r.a, *const p = r.p;

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
    r.moved = farthest >= r.unchanged;
    if (!r.moved) return;

    float total = static_cast<float>(all);  // of a row that hardly moves its own logits p is best
    if (r.q > UNMOVED) r.moved = nearest(r, log_all, a_own, total);
    if (!r.moved) return;
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
