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

// Softmax::probabilities or logarithms of rows of 16-bit floats that follow each other, worked in float32 and rounded
// once more; out may be z.
void softmax_half(Softmax kind, Half type, const std::uint16_t* z, Index rows, Index classes, double temperature,
                  std::uint16_t* out, int threads);

struct CrossEntropy {
    double loss;    // sum of the rows' losses, each with its weight
    Index outside;  // the first row whose label is not a class, or -1; nothing is read by such a label
};

// Loss -ln p_label of each row of rows x classes logits, p their softmax, and its gradient by the logits,
// gradient = scale weight (p - onehot(label)). weights may be nullptr, which is 1 for each; a row of weight 0 has
// gradient 0 whatever its logits are. gradient may be nullptr.
template <class T>
CrossEntropy cross_entropy_of_logits(const T* z, const Index* labels, const double* weights, double scale, Index rows,
                                     Index classes, T* gradient, int threads);

// out = 1 / (1 + exp(-z)), or its logarithm
template <class T>
void sigmoid(const T* z, Index n, bool logarithm, T* out, int threads);

}  // namespace luce
