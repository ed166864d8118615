// Curvature blocks X' diag(w_k) X + diag(ridge), factored: the metric in which the solver takes its steps.
#pragma once
#include "view.h"

namespace luce {

// Some rows of x and some ascending columns, as rows x padded: the columns, then a column of ones, then zeros.
void submatrix(const Features& x, const Index* rows, Index row_count, const Index* columns, Index column_count,
               Index padded, double* out, int threads);

// out[m][j] = sum over some rows of weights[m][i] x_ij^2, for weights of blocks x row_count.
void weighted_squares(const Features& x, const Index* rows, Index row_count, const double* weights, Index blocks,
                      double* out, int threads);

// factors[k] (size x size, row-major, lower triangle) = Cholesky factor of X' diag(w_k) X + diag(ridge).
// x is rows x padded, row-major, columns from `size` on zero, padded a multiple of 8. weights is blocks x rows.
void curvature_factors(const double* x, Index rows, Index size, Index padded, const double* weights, Index blocks,
                       const double* ridge, double* factors, int threads);

// right[k] (size numbers) <- (L_k L_k')^-1 right[k]; block k uses factor min(k, factors - 1)
void solve_factors(const double* factors, Index count, Index size, double* right, Index blocks, int threads);

}  // namespace luce
