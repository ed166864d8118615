#include "gram.h"

#include <cmath>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index PANEL = 256;  // rows that stay in cache while all blocks of one stripe are summed

// The 8 rows of the lower triangle that begin at row 8 * stripe.
void gram_stripe(const double* x, Index rows, Index size, Index padded, const double* w, Index stripe, double* gram) {
    const Index i = stripe * LANES;
    std::vector<double> blocks((stripe + 1) * LANES * LANES);
    for (Index r = 0; r < rows; r += PANEL) {
        const Index n = rows - r < PANEL ? rows - r : PANEL;
        for (Index b = 0; b <= stripe; ++b)
            kernels().gram_block(x + r * padded, n, padded, w + r, i, b * LANES, &blocks[b * LANES * LANES]);
    }
    for (Index a = i; a < size && a < i + LANES; ++a)
        for (Index j = 0; j <= a; ++j)
            gram[a * size + j] = blocks[(j / LANES) * LANES * LANES + (a - i) * LANES + j % LANES];
}

// In place, row by row. A pivot that rounding has made too small for its diagonal is raised to that size:
// the factor then belongs to a slightly stiffer matrix, which is all that a preconditioner needs.
void cholesky(double* a, Index n) {
    for (Index i = 0; i < n; ++i) {
        double* row = a + i * n;
        const double diagonal = row[i];
        for (Index j = 0; j < i; ++j) row[j] = (row[j] - kernels().dot(row, a + j * n, j)) / a[j * n + j];
        double pivot = diagonal - kernels().dot(row, row, i);
        const double least = 1e-10 * diagonal + 1e-300;
        if (!(pivot > least)) pivot = least;
        row[i] = std::sqrt(pivot);
    }
}

}  // namespace

void curvature_factors(const double* x, Index rows, Index size, Index padded, const double* weights, Index blocks,
                       const double* ridge, double* factors, int threads) {
    const Index stripes = padded / LANES;
    parallel_for(blocks * stripes, threads, [&](Index item) {
        // long stripes first, so that threads end together
        const Index k = item % blocks, stripe = stripes - 1 - item / blocks;
        gram_stripe(x, rows, size, padded, weights + k * rows, stripe, factors + k * size * size);
    });
    parallel_for(blocks, threads, [&](Index k) {
        double* factor = factors + k * size * size;
        for (Index j = 0; j < size; ++j) factor[j * size + j] += ridge[j];
        cholesky(factor, size);
    });
}

void solve_factors(const double* factors, Index count, Index size, double* right, Index blocks, int threads) {
    const double work = static_cast<double>(blocks) * static_cast<double>(size * size);
    parallel_for(blocks, work < 4e5 ? 1 : threads, [&](Index k) {
        const double* l = factors + (k < count ? k : count - 1) * size * size;
        double* b = right + k * size;
        for (Index i = 0; i < size; ++i) b[i] = (b[i] - kernels().dot(l + i * size, b, i)) / l[i * size + i];
        for (Index i = size - 1; i >= 0; --i) {
            b[i] /= l[i * size + i];
            kernels().subtract_scaled(b, l + i * size, b[i], i);
        }
    });
}

}  // namespace luce
