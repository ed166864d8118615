// Softmax family over rows of logits that lie side by side.
#pragma once
#include "view.h"

namespace luce {

enum class Softmax { probabilities = 0, logarithms = 1 };

// out = softmax or log-softmax of every row of z / temperature. Rows with NaN or +inf, and rows of -inf alone, give
// NaN. totals, if not nullptr, gets logsumexp of every row; out may be nullptr then.
template <class T>
void softmax(const T* z, Index rows, Index columns, double temperature, Softmax kind, T* out, double* totals,
             int threads);

// out = 1 / (1 + exp(-z))
template <class T>
void sigmoid(const T* z, Index n, T* out, int threads);

}  // namespace luce
