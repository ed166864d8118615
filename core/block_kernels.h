// The innermost loops of class_blocks.h, compiled once per instruction set (block_kernels.cpp) and chosen at import
// (dispatch.cpp). A block is BLOCK classes side by side.
#pragma once
#include "view.h"

namespace luce {

constexpr int BLOCK = 64;

// What a sparse row stores: float32 or double values, one of the two.
struct SparseRow {
    const std::int32_t* indices;
    const float* values;
    const double* doubles;
    Index count;
};

// The vectors of a step: gradients now and before, and in bfloat16 (the upper half of a float) the inverse of the
// curvature and the last direction; the length of that.
struct BlockStep {
    const float *gradient, *before;
    const std::uint16_t* inverse;
    std::uint16_t* direction;
    float length;
};

struct BlockKernels {
    // z[c] = bias[c] + sum_e value_e w[index_e * BLOCK + c]
    void (*logits)(const SparseRow& x, const float* w, const float* bias, float* z);
    void (*logits_exact)(const SparseRow& x, const float* w, const double* bias, double* z);
    // g[index_e * BLOCK + c] += value_e r[c]
    void (*add)(const SparseRow& x, const float* r, float* g);
    void (*add_exact)(const SparseRow& x, const double* r, double* g);
    // A row of `blocks` pieces of BLOCK numbers, `stride` apart: z becomes weight (p - onehot(own)), p = softmax(z).
    // Returns weight * cross-entropy.
    double (*residual)(float* z, Index stride, int blocks, int own, float weight);
    // One piece: z becomes weight p (1 - p), p = e^(z - log_sum)
    void (*spread)(float* z, float log_sum, float weight);
    // Such a row in double: z becomes p. Returns logsumexp(z).
    double (*shares)(double* z, Index stride, int blocks);
    // sum_c c_c z_c over such a row, c as long as all pieces
    double (*weigh)(const double* z, Index stride, int blocks, const double* c);
    // One piece: z becomes weight (keep e^(z - log_sum) + gain)
    void (*moved)(double* z, double log_sum, double weight, const double* keep, const double* gain, double gained);
    // share[c] += weight p[c], curve[c] += weight p[c] (1 - p[c])
    void (*masses)(const double* p, double weight, double* share, double* curve);
    // Of `count` numbers: adds s'g, s'y, y'V y, y'V g to sums, for s = length * direction, y = gradient - before, V the
    // inverse of the curvature
    void (*products)(const BlockStep& s, Index count, double* sums);
    // direction = -V (of_gradient * gradient - of_change * y) - of_step * direction; returns direction'gradient
    double (*direct)(const BlockStep& s, Index count, float of_gradient, float of_change, float of_step);
    // a += factor * b, `count` numbers, b in float or bfloat16; returns |a|^2
    double (*add_scaled)(float* a, const float* b, float factor, Index count);
    double (*add_halves)(float* a, const std::uint16_t* b, float factor, Index count);
};

const BlockKernels& block_kernels();  // the best ones that this processor runs

}  // namespace luce
