// The innermost loops, compiled once per instruction set (kernels.cpp) and chosen at import (dispatch.cpp).
// They work on a tile: TILE rows side by side, one row per SIMD lane, all in double.
// Unused lanes of a last, partly filled tile hold zeros.
#pragma once
#include "view.h"

namespace luce {

constexpr int TILE = 64;
constexpr int LANES = 8;  // sums over a tile's rows keep 8 partial sums, whatever the register width

// What one sweep over a tile of logits needs and gives. z, direction and residual are arrays
// outputs x TILE; for two classes outputs is 1 (z is the logit of the second class, the sigmoid),
// else it is the number of classes.
struct Sweep {
    int outputs;
    const double* z;
    const double* direction;    // nullptr unless the derivatives along it are wanted
    double step;                // the logits are z + step * direction
    const std::int32_t* label;  // TILE class codes
    const double* weight;       // TILE row weights; 0 for unused lanes
    const double* correction;   // nullptr, or outputs numbers c: p is moved by -(diag p - p p')c
    double* residual;           // nullptr, or gets weight * (p - onehot(label))
    double* scratch;            // outputs x TILE
    double loss[LANES];         // adds weight * cross-entropy
    double slope[LANES];        // adds its first derivative along direction
    double curve[LANES];        // adds its second derivative along direction
};

struct Kernels {
    const char* name;
    // tile[j * TILE + r] = x(first + r, j) for r < rows, 0 beyond
    void (*load32)(const View<float>& x, Index first, int rows, double* tile);
    void (*load64)(const View<double>& x, Index first, int rows, double* tile);
    // z[k * TILE + r] = bias[k] + sum_j tile[j * TILE + r] * weights[j * outputs + k]
    void (*forward)(const double* tile, Index columns, const double* weights, const double* bias, int outputs,
                    double* z);
    // z += sparse rows * weights
    void (*forward_sparse)(const Csr& x, Index first, int rows, const double* weights, int outputs, double* z,
                           double* scratch);
    void (*sweep)(Sweep& s);
    // products of a Hessian: residual = weight * (diag p - p p') direction, p = softmax(z)
    void (*curvature)(Sweep& s);
    // sums[(j * outputs + k) * LANES + lane] += tile[j] * residual[k]
    void (*backward)(const double* tile, Index columns, const double* residual, int outputs, double* sums);
    // gradient[index * outputs + k] += value * residual[k] for the stored values of the sparse rows
    void (*backward_sparse)(const Csr& x, Index first, int rows, const double* residual, int outputs, double* gradient,
                            double* scratch);
    // For columns [first, end) of a matrix by columns: z[row * width + k] += x_j (x_j' a)_k, both rows x width; width
    // is 1 or a multiple of 4
    void (*columns32)(const Index* starts, Index first, Index end, const std::int32_t* rows, const float* values,
                      const double* a, Index width, double* z);
    void (*columns64)(const Index* starts, Index first, Index end, const std::int32_t* rows, const double* values,
                      const double* a, Index width, double* z);
    // block[a * right + v] += sum over rows of w[r] * x[r * stride + a] * y[r * stride + v], in float over these rows;
    // `left` and `right` are the sides that fill the registers
    int left, right;
    void (*outer)(const float* w, const float* x, const float* y, Index rows, Index stride, double* block);
    // w[r] = s[r] (a p_r (1 - p_r) or -p_r q_r  +  t_r (1 - t_r + p_r + q_r)), in double: what couples two classes p
    // and q seen from a third, t; the first form where p and q are the same
    void (*coupling)(const double* s, const double* p, const double* q, const double* t, Index rows, float* w);
    // out[i * 4 + j] = a_i . b_j for 4 rows of a and 4 rows of b, n numbers each
    void (*dots)(const double* a, Index a_stride, const double* b, Index b_stride, Index n, double* out);
    double (*dot)(const double* a, const double* b, Index n);
    void (*subtract_scaled)(double* a, const double* b, double factor, Index n);
};

const Kernels& kernels();  // the best one that this processor runs

}  // namespace luce
