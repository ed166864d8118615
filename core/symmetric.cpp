#include "symmetric.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"

namespace luce {
namespace {

// a = Q T Q' with T tridiagonal: `diagonal`, and `beside` with beside[i] between i and i + 1. a becomes Q'.
void tridiagonal(double* a, Index n, double* diagonal, double* beside) {
    const Kernels& k = kernels();
    std::vector<double> reflectors(n * n), scale(n), w(n);
    for (Index c = 0; c + 2 < n; ++c) {
        const Index m = n - c - 1;
        double* v = &reflectors[c * n + c + 1];
        std::copy_n(a + c * n + c + 1, m, v);
        const double size = std::sqrt(k.dot(v, v, m));
        diagonal[c] = a[c * n + c];
        beside[c] = v[0] > 0 ? -size : size;
        v[0] -= beside[c];
        const double square = k.dot(v, v, m);
        scale[c] = square > 0 ? 2.0 / square : 0.0;
        double* rest = a + (c + 1) * n + c + 1;
        for (Index i = 0; i < m; ++i) w[i] = scale[c] * k.dot(rest + i * n, v, m);
        k.subtract_scaled(w.data(), v, 0.5 * scale[c] * k.dot(w.data(), v, m), m);
        for (Index i = 0; i < m; ++i) {
            k.subtract_scaled(rest + i * n, w.data(), v[i], m);
            k.subtract_scaled(rest + i * n, v, w[i], m);
        }
    }
    for (Index i = std::max<Index>(n - 2, 0); i < n; ++i) diagonal[i] = a[i * n + i];
    if (n > 1) beside[n - 2] = a[(n - 1) * n + n - 2];
    std::fill(a, a + n * n, 0.0);
    for (Index i = 0; i < n; ++i) a[i * n + i] = 1.0;
    for (Index c = n - 3; c >= 0; --c) {
        const Index m = n - c - 1;
        const double* v = &reflectors[c * n + c + 1];
        for (Index i = c + 1; i < n; ++i)
            k.subtract_scaled(a + i * n + c + 1, v, scale[c] * k.dot(a + i * n + c + 1, v, m), m);
    }
}

void rotate(double* upper, double* lower, double c, double s, Index n) {
    for (Index j = 0; j < n; ++j) {
        const double x = upper[j], y = lower[j];
        upper[j] = c * x - s * y;
        lower[j] = s * x + c * y;
    }
}

// One implicit QL step on rows [first, last] of the tridiagonal matrix, shifted towards its eigenvalue at `first`.
void ql_step(double* d, double* e, Index first, Index last, double* vectors, Index n) {
    const double half = (d[first + 1] - d[first]) / (2.0 * e[first]);
    const double root = std::hypot(half, 1.0);
    double g = d[last] - d[first] + e[first] / (half + std::copysign(root, half));
    double s = 1.0, c = 1.0, p = 0.0;
    for (Index i = last - 1; i >= first; --i) {
        const double f = s * e[i], b = c * e[i];
        const double r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0.0) {  // the matrix falls apart here: the next step works on the part that is left
            d[i + 1] -= p;
            e[last] = 0.0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        const double t = (d[i] - g) * s + 2.0 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        rotate(vectors + i * n, vectors + (i + 1) * n, c, s, n);
    }
    d[first] -= p;
    e[first] = g;
    e[last] = 0.0;
}

}  // namespace

bool symmetric_eigen(double* a, Index n, double* values) {
    std::vector<double> beside(n);
    tridiagonal(a, n, values, beside.data());
    for (Index i = 0; i < n; ++i)
        for (int tries = 0;; ++tries) {
            Index end = i;
            while (end + 1 < n) {
                const double near = std::abs(values[end]) + std::abs(values[end + 1]);
                if (near + std::abs(beside[end]) == near) break;
                ++end;
            }
            if (end == i) break;
            if (tries == 60) return false;
            ql_step(values, beside.data(), i, end, a, n);
        }
    return true;
}

bool solve_symmetric(double* a, Index n, const double* b, double rank, double* x) {
    std::vector<double> values(n);
    if (!symmetric_eigen(a, n, values.data())) return false;
    double largest = 0.0;
    for (const double value : values) largest = std::max(largest, std::abs(value));
    std::fill(x, x + n, 0.0);
    for (Index i = 0; i < n; ++i)
        if (std::abs(values[i]) > rank * largest)
            kernels().subtract_scaled(x, a + i * n, -kernels().dot(a + i * n, b, n) / values[i], n);
    return true;
}

bool update_curvature(double* h, Index n, const double* step, const double* change) {
    const Kernels& k = kernels();
    std::vector<double> product(n);
    for (Index i = 0; i < n; ++i) product[i] = k.dot(h + i * n, step, n);
    const double before = k.dot(step, product.data(), n), now = k.dot(step, change, n);
    if (!(before > 0.0 && now > 1e-6 * before)) return false;
    for (Index i = 0; i < n; ++i) {
        k.subtract_scaled(h + i * n, product.data(), product[i] / before, n);
        k.subtract_scaled(h + i * n, change, -change[i] / now, n);
    }
    return true;
}

}  // namespace luce
