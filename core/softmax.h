// Softmax family along the middle axis of outer x classes x inner numbers that lie side by side.
#pragma once
#include "softmax_kernels.h"
#include "view.h"

namespace luce {

// Softmax::probabilities, logarithms: out = softmax or log-softmax of z / temperature along the classes, in the layout
// of z; out may be z. Softmax::total: total (outer x inner) = logsumexp, out is not used. A row with NaN or +inf, and a
// row of -inf alone, gives NaN as a whole; its total is NaN, +inf or -inf.
template <class T>
void softmax(Softmax kind, const T* z, Index outer, Index classes, Index inner, double temperature, T* out, T* total,
             int threads);

// out = 1 / (1 + exp(-z)), or its logarithm
template <class T>
void sigmoid(const T* z, Index n, bool logarithm, T* out, int threads);

}  // namespace luce
