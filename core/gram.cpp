#include "gram.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index PANEL = 128;  // rows that stay in cache while all blocks of one stripe are summed
constexpr Index STEP = 64;    // columns that Cholesky works on at a time

// The 8 rows of the lower triangle that begin at row 8 * stripe.
void gram_stripe(const double* x, Index rows, Index size, Index padded, const double* w, Index stripe, double* gram) {
    const Index i = stripe * LANES;
    std::vector<double> blocks((stripe + 1) * LANES * LANES);
    double left[PANEL * LANES];
    for (Index r = 0; r < rows; r += PANEL) {
        const Index n = rows - r < PANEL ? rows - r : PANEL;
        for (Index k = 0; k < n; ++k)
            for (Index a = 0; a < LANES; ++a) left[k * LANES + a] = w[r + k] * x[(r + k) * padded + i + a];
        kernels().gram_blocks(left, x + r * padded, n, padded, stripe + 1, blocks.data());
    }
    for (Index a = i; a < size && a < i + LANES; ++a)
        for (Index j = 0; j <= a; ++j)
            gram[a * size + j] = blocks[(j / LANES) * LANES * LANES + (a - i) * LANES + j % LANES];
}

// Rows [first, end) of columns [c, c + width): minus the products with the columns already done.
void subtract_done(double* a, Index n, Index first, Index end, Index c, Index width) {
    double out[16];
    for (Index i = first; i < end; i += 4)
        for (Index j = 0; j < width; j += 4) {
            if (i + 4 <= end && j + 4 <= width) {
                kernels().dots(a + i * n, n, a + (c + j) * n, n, c, out);
                for (Index p = 0; p < 4; ++p)
                    for (Index q = 0; q < 4; ++q) a[(i + p) * n + c + j + q] -= out[p * 4 + q];
                continue;
            }
            for (Index p = i; p < end && p < i + 4; ++p)
                for (Index q = j; q < width && q < j + 4; ++q)
                    a[p * n + c + q] -= kernels().dot(a + p * n, a + (c + q) * n, c);
        }
}

// The square at (c, c), whose products with earlier columns are already subtracted. A pivot that rounding has made too
// small for its diagonal is raised to that size: the factor then belongs to a slightly stiffer matrix, which is all
// that a preconditioner needs.
void factor_square(double* a, Index n, Index c, Index width, const double* diagonal) {
    for (Index i = c; i < c + width; ++i) {
        double* row = a + i * n;
        for (Index j = c; j < i; ++j) row[j] = (row[j] - kernels().dot(row + c, a + j * n + c, j - c)) / a[j * n + j];
        double pivot = row[i] - kernels().dot(row + c, row + c, i - c);
        const double least = 1e-10 * diagonal[i] + 1e-300;
        if (!(pivot > least)) pivot = least;
        row[i] = std::sqrt(pivot);
    }
}

// In place, STEP columns at a time; below the square, groups of rows are independent of each other.
void cholesky(double* a, Index n, int threads) {
    std::vector<double> diagonal(n);
    for (Index i = 0; i < n; ++i) diagonal[i] = a[i * n + i];
    for (Index c = 0; c < n; c += STEP) {
        const Index width = n - c < STEP ? n - c : STEP;
        subtract_done(a, n, c, c + width, c, width);
        factor_square(a, n, c, width, diagonal.data());
        const Index first = c + width, groups = (n - first + STEP - 1) / STEP;
        parallel_for(groups, n < 256 ? 1 : threads, [&](Index g) {
            const Index begin = first + g * STEP, end = begin + STEP < n ? begin + STEP : n;
            subtract_done(a, n, begin, end, c, width);
            for (Index i = begin; i < end; ++i)
                for (Index j = c; j < c + width; ++j)
                    a[i * n + j] = (a[i * n + j] - kernels().dot(a + i * n + c, a + j * n + c, j - c)) / a[j * n + j];
        });
    }
}

template <class T>
double cell(const View<T>& x, Index row, Index column) {
    return static_cast<double>(x.data[row * x.row_stride + column * x.column_stride]);
}

double dense_cell(const Features& x, Index row, Index column) {
    if (x.dense8.data != nullptr) return cell(x.dense8, row, column);
    return x.dense32.data != nullptr ? cell(x.dense32, row, column) : cell(x.dense64, row, column);
}

// Calls body(entry's sparse column, its value) for what a row stores in the sparse part.
template <class Body>
void sparse_cells(const Csr& x, Index row, const Body& body) {
    if (x.columns == 0) return;
    for (Index e = x.starts[row]; e < x.starts[row + 1]; ++e)
        body(x.indices[e], x.values ? static_cast<double>(x.values[e]) : 1.0);
}

}  // namespace

void submatrix(const Features& x, const Index* rows, Index row_count, const Index* columns, Index column_count,
               Index padded, double* out, int threads) {
    Index dense = 0;
    while (dense < column_count && columns[dense] < x.dense_columns) ++dense;
    std::vector<Index> place(x.sparse.columns, -1);
    for (Index j = dense; j < column_count; ++j) place[columns[j] - x.dense_columns] = j;
    const Index each = PANEL;
    parallel_for((row_count + each - 1) / each, row_count * padded < 200'000 ? 1 : threads, [&](Index g) {
        const Index first = g * each, end = std::min(row_count, first + each);
        std::fill(out + first * padded, out + end * padded, 0.0);
        for (Index j = 0; j < dense; ++j)
            for (Index i = first; i < end; ++i) out[i * padded + j] = dense_cell(x, rows[i], columns[j]);
        for (Index i = first; i < end; ++i) {
            double* row = out + i * padded;
            row[column_count] = 1.0;
            sparse_cells(x.sparse, rows[i], [&](Index column, double value) {
                if (place[column] >= 0) row[place[column]] += value;
            });
        }
    });
}

void weighted_squares(const Features& x, const Index* rows, Index row_count, const double* weights, Index blocks,
                      double* out, int threads) {
    const Index columns = x.dense_columns + x.sparse.columns;
    parallel_for(blocks, threads, [&](Index m) {
        double* sum = out + m * columns;
        const double* w = weights + m * row_count;
        std::fill(sum, sum + columns, 0.0);
        for (Index i = 0; i < row_count; ++i) {
            for (Index j = 0; j < x.dense_columns; ++j) {
                const double cell = dense_cell(x, rows[i], j);
                sum[j] += w[i] * cell * cell;
            }
            sparse_cells(x.sparse, rows[i],
                         [&](Index column, double value) { sum[x.dense_columns + column] += w[i] * value * value; });
        }
    });
}

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
        cholesky(factor, size, threads);
    });
}

void solve_factors(const double* factors, Index count, Index size, double* right, Index blocks, int threads) {
    // Right sides that share a factor go through it together: each of its rows is read once for all of them.
    const Index each = count == 1 ? 8 : 1;
    const double work = static_cast<double>(blocks) * static_cast<double>(size * size);
    parallel_for((blocks + each - 1) / each, work < 4e5 ? 1 : threads, [&](Index g) {
        const double* l = factors + (count == 1 ? 0 : g) * size * size;
        const Index end = (g + 1) * each < blocks ? (g + 1) * each : blocks;
        for (Index i = 0; i < size; ++i)
            for (Index k = g * each; k < end; ++k) {
                double* b = right + k * size;
                b[i] = (b[i] - kernels().dot(l + i * size, b, i)) / l[i * size + i];
            }
        for (Index i = size - 1; i >= 0; --i)
            for (Index k = g * each; k < end; ++k) {
                double* b = right + k * size;
                b[i] /= l[i * size + i];
                kernels().subtract_scaled(b, l + i * size, b[i], i);
            }
    });
}

}  // namespace luce
