// Probabilities of a few rows at once, for callers who wait for one row.
#pragma once
#include "view.h"

namespace luce {

constexpr Index FEW_ROWS = 64;  // one tile

// probabilities (rows x classes) = softmax(x W + b), or the sigmoids of either sign for one output; the same bits as in
// a pass over many rows. weights is feature-major, columns x outputs. At most FEW_ROWS rows, dense columns alone.
void predict(const Features& x, const double* weights, const double* bias, int outputs, double* probabilities);

}  // namespace luce
