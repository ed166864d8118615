// The functions of a number that let a linear model bend: linear between knots (src/luce/curves.py has the formulas).
#pragma once
#include "view.h"

namespace luce {

// out[j * stride + i] = sizes[j] f_j(x[i]) for j < functions, i < rows; f_j(knots[k]) = table[k * functions + j],
// linear in between, constant beyond the ends, and 0 for NaN. knots: two or more, ascending. T: float, double.
template <class T>
void bend(const double* x, Index rows, const double* knots, Index knot_count, const double* table, const double* sizes,
          Index functions, T* out, Index stride);

}  // namespace luce
