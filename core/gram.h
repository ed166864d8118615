// Curvature blocks X' diag(w_k) X + diag(ridge), factored: the metric in which the solver takes its steps.
#pragma once
#include "view.h"

namespace luce {

// Some rows of x and some ascending columns, as rows x padded: the columns, the dense ones minus centre[j] (one for
// each of them), then a column of ones, then zeros.
void submatrix(const Features& x, const Index* rows, Index row_count, const Index* columns, Index column_count,
               const double* centre, const double* spread, Index padded, float* out, int threads);

// The sums of the dense columns, chunk by chunk, where the rows of x are some of `all` (chunks.h). parts: chunks x
// dense columns.
void column_sums(const Features& x, Index all, double* parts, int threads);

// The same of (x_ij - centre_j)^2, and of x_ij^2 for sparse columns: parts is chunks x columns, of as many chunks.
void column_squares(const Features& x, Index all, const double* centre, double* parts, int threads);

// How much each row stands out, 1 in the mean: the mean over the columns that vary of (x_ij - centre_j)^2 / variance_j;
// for sparse columns of x_ij^2 over its mean, which `variance` has for them. A cheap stand-in for leverage.
void row_energy(const Features& x, const double* centre, const double* variance, double* energy, int threads);

// A 64-bit hash of the numbers of each row, the same for every way to store them: sum_j bits(x_ij) odd_j, mixed, with
// an odd multiplier for each column; -0 counts as 0, and a 0 adds nothing, stored or not.
void row_hash(const Features& x, std::uint64_t seed, std::uint64_t* hash, int threads);

// out[m][j] = sum over some rows of weights[m][i] x_ij^2, for weights of blocks x row_count.
void weighted_squares(const Features& x, const Index* rows, Index row_count, const double* weights, Index blocks,
                      double* out, int threads);

// How the rows of a panel are summed. Curvature may be rough, but sums in float tell nothing of a direction along which
// it is below about a millionth of what it is along the columns, as where columns say almost the same.
enum class Sums { single, exact };

// factors[k] (size x size, row-major, lower triangle) = Cholesky factor of X' diag(w_k) X + diag(ridge). x is rows x
// padded, row-major, columns from `size` on zero, padded a multiple of GRAM_PAD. weights is blocks x rows. Returns the
// least pivot, of its diagonal: about the least that the curvature is along any direction.
constexpr Index GRAM_PAD = 32;
double curvature_factors(const float* x, Index rows, Index size, Index padded, const double* weights, Index blocks,
                         const double* ridge, Sums sums, double* factors, int threads);

// The whole curvature at once, over the weights V of all classes but the last, which has minus their sum: factor
// ((classes - 1) size square, lower triangle) = Cholesky factor of sum_i w_i C'(diag p_i - p_i p_i')C kron x_i x_i'
// + C'C kron diag(ridge), C = [I; -1']. shares is classes x rows, the p. Returns the same.
double coupled_factor(const float* x, Index rows, Index size, Index padded, const double* shares, const double* weights,
                      int classes, const double* ridge, Sums sums, double* factor, int threads);

// The whole curvature of all outputs (two classes: one), curvature (outputs * size square, symmetric) = sum_i w_i
// x_i x_i' kron (diag p_i - p_i p_i'), in the order of points: column by column.
void whole_curvature(const float* x, Index rows, Index size, Index padded, const double* shares, const double* weights,
                     int outputs, double* curvature, int threads);

// right[k] (size numbers) <- (L_k L_k')^-1 right[k]; block k uses factor min(k, factors - 1)
void solve_factors(const double* factors, Index count, Index size, double* right, Index blocks, int threads);

}  // namespace luce
