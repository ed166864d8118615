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

}  // namespace luce
