// Small symmetric matrices, K x K for K classes: their eigenvectors, and equations that may be singular. Our own, so
// that the bits and the threads do not depend on whichever BLAS NumPy brought.
#pragma once
#include "view.h"

namespace luce {

// a (n x n, symmetric) becomes its orthonormal eigenvectors, one a row, with values[i] the eigenvalue of row i, in no
// set order. Householder reduction to tridiagonal form, then implicit QL (Golub and Van Loan, Matrix
// Computations, 8.3). False if the iteration does not end, as with NaN.
bool symmetric_eigen(double* a, Index n, double* values);

// x = the shortest vector that solves a x = b up to eigenvalues below `rank` times the largest; a is destroyed.
bool solve_symmetric(double* a, Index n, const double* b, double rank, double* x);

// The BFGS update of a curvature h (n x n): along `step` it becomes `change` (Nocedal and Wright, 6.19). False, and
// nothing done, where the change shows no curvature.
bool update_curvature(double* h, Index n, const double* step, const double* change);

}  // namespace luce
