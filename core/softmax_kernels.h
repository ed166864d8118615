// The innermost loops of the softmax family, compiled once per instruction set and chosen by dispatch.cpp.
#pragma once
#include <cstdint>

#include "view.h"

namespace luce {

enum class Half { float16, bfloat16 };

enum class Softmax { probabilities, logarithms, total, gradient };

// Rows of `classes` logits. Either class_stride is 1 and the rows lie one after the other, or number k of row r is at
// z[r + k * class_stride]. Results lie in `out` in the same way, with out_stride for class_stride.
template <class T>
struct SoftmaxTask {
    Softmax kind;
    const T* z;
    T* out;    // nullptr for Softmax::total, and may be for Softmax::gradient
    T* total;  // Softmax::total: logsumexp of each row
    Index rows, classes, class_stride, out_stride;
    double temperature;
    // Softmax::gradient, for each row: out = weight (p - onehot(label)), loss = -ln p_label
    const Index* labels;  // from 0 to classes - 1
    const double* weights;
    double* loss;
    bool past_cache;  // results are not expected back in the cache: write them past it
};

struct SoftmaxKernels {
    void (*rows32)(const SoftmaxTask<float>& t);
    void (*rows64)(const SoftmaxTask<double>& t);
    // out = 1 / (1 + exp(-z)), or its logarithm
    void (*sigmoid32)(const float* z, Index n, bool logarithm, float* out);
    void (*sigmoid64)(const double* z, Index n, bool logarithm, double* out);
    void (*widen_half)(Half type, const std::uint16_t* z, Index n, float* out);
    void (*narrow_half)(Half type, const float* z, Index n, std::uint16_t* out);  // to nearest, ties to even
    Index (*block_rows)(Index classes);  // whole blocks of rows that follow each other are worked best
};

const SoftmaxKernels& softmax_kernels();

}  // namespace luce
