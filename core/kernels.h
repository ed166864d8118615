// The innermost loops, compiled once per instruction set (kernels.cpp) and chosen at import (dispatch.cpp).
// They work on a tile: TILE rows side by side, one row per SIMD lane, all in double.
// Unused lanes of a last, partly filled tile hold zeros.
#pragma once
#include "view.h"

namespace luce {

constexpr int TILE = 64;
constexpr int LANES = 8;  // sums over a tile's rows keep 8 partial sums, whatever the register width

// The sum of a set of partial sums.
inline double total(const double* lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

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

// What the best distribution of one row takes and gives (dual_ascent.h), in arrays of `padded` numbers, a multiple
// of 16.
struct DualRow {
    int outputs, padded, own;  // classes, and the one that the row belongs to
    float* z;                  // logits, -1e30 beyond the classes; used up
    float* a;                  // the distribution before and after, but for the own class: there 1 - a
    float *p, *u;              // scratch; p gets what y - a has moved by
    double q;                  // how the logits follow a: weight |x|^2 / l2
    float unchanged;           // if no probability is that far from a, all stays
    double loss, divergence;   // of before
    bool moved;
};

// Units of a network that its products take at a time, side by side for each row: a panel.
constexpr int UNITS = 16;

// AdamW: w -= rate (m first_scale / (sqrt(v second_scale) + least) + decay w), m and v the running means of g and g^2
// (Loshchilov and Hutter, ICLR 2019, algorithm 2); the scales undo the start at 0.
struct AdamStep {
    float rate, first, second, first_scale, second_scale, least, decay;
};

// The rows of a tile for kernels that go along the columns: row r lies at data + r * stride. The last few columns, less
// than a register, are read from tails + r * tail_stride, with zeros behind them.
template <class S>
struct Rows {
    const S* data;
    Index stride;
    const S* tails;
    Index tail_stride;
    Index columns;
    int count;
};

// Weights, sums and copied rows are padded to whole registers of any kind.
template <class S>
constexpr Index ROW_STEP = 64 / sizeof(S);

// Products of rows as they lie in memory, calculated in S: row_kernels.h. Weights and sums are class-major: class k
// begins at k * stride, stride a multiple of ROW_STEP<S>, zeros beyond the columns.
template <class S>
struct RowKernels {
    // rows first to first + count of x, where x.column_stride is 1; tails: a buffer for TILE * ROW_STEP<S> numbers
    Rows<S> (*in_place)(const View<S>& x, Index first, int count, S* tails);
    // the same rows as S, copied to TILE * stride numbers, from any strides
    Rows<S> (*copy8)(const View<std::uint8_t>& x, Index first, int count, Index stride, S* copy);
    Rows<S> (*copy16)(const View<Float16>& x, Index first, int count, Index stride, S* copy);
    Rows<S> (*copy32)(const View<float>& x, Index first, int count, Index stride, S* copy);
    Rows<S> (*copy64)(const View<double>& x, Index first, int count, Index stride, S* copy);
    // z[k * TILE + r] = bias[k] + x_r . weights[k], 0 beyond the last row
    void (*forward)(const Rows<S>& x, const S* weights, Index stride, const double* bias, int outputs, double* z);
    // a hint that backward comes next, where no forward was before
    void (*bring)(const Rows<S>& x);
    // sums[k * stride + j] += sum_r x_rj residual[k * TILE + r]; narrow: a buffer for outputs * TILE numbers
    void (*backward)(const Rows<S>& x, const double* residual, int outputs, S* narrow, double* sums, Index stride);
};

struct Kernels {
    const char* name;
    RowKernels<float> rows32;
    RowKernels<double> rows64;
    // tile[j * TILE + r] = x(first + r, j) for r < rows, 0 beyond
    void (*load8)(const View<std::uint8_t>& x, Index first, int rows, double* tile);
    void (*load16)(const View<Float16>& x, Index first, int rows, double* tile);
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
    // z[k] += sum_e values[e] w[indices[e] * width + k], width 1 or a multiple of 8; and
    // w[indices[e] * width + k] += values[e] change[k]
    void (*gather)(const std::int32_t* indices, const float* values, Index count, const float* w, Index width,
                   float* z);
    void (*scatter)(const std::int32_t* indices, const float* values, Index count, const float* change, Index width,
                    float* w);
    void (*dual_row)(DualRow& row);
    // out[j] = x[j], `count` numbers that lie side by side
    void (*widen)(const Float16* x, Index count, float* out);
    // c[r * ldc ..] = start + sum_k a[r * row_step + k * depth_step] w[k * w_step ..], UNITS numbers a row; start:
    // UNITS numbers, or nullptr for 0
    void (*panel)(const float* a, Index row_step, Index depth_step, Index rows, Index depth, const float* w,
                  Index w_step, const float* start, float* c, Index ldc);
    // to[j] = (from[j] - shift[j]) scale[j], held within +-most
    void (*scaled8)(const std::uint8_t* from, const double* shift, const double* scale, Index columns, double most,
                    float* to);
    void (*scaled32)(const float* from, const double* shift, const double* scale, Index columns, double most,
                     float* to);
    // z becomes its activation, ReLU or GELU (by tanh), and slope (or nullptr) what that rises by; units a multiple of
    // UNITS. A unit is dropped with that probability, by bits of the key and its number, the others scaled up.
    void (*activate)(float* z, float* slope, int units, bool gelu, float dropout, std::uint32_t key);
    // weight * cross-entropy of a row and residual = weight (p - onehot(own)), both padded to UNITS
    double (*output_row)(const float* z, int outputs, int own, float weight, float* residual);
    void (*adam)(float* w, float* m, float* v, const float* g, Index count, const AdamStep& s);  // a multiple of UNITS
    // block[a * right + v] += sum over rows of w[r] * x[r * stride + a] * y[r * stride + v], in float over these rows;
    // `left` and `right` are the sides that fill the registers; outer_double: the same in double
    int left, right;
    void (*outer)(const float* w, const float* x, const float* y, Index rows, Index stride, double* block);
    void (*outer_double)(const float* w, const float* x, const float* y, Index rows, Index stride, double* block);
    // out[i (i + 1) / 2 + j] = x[i] x[j], j <= i, for i from `low` until a row begins at `end` or beyond; eight at a
    // time: up to 7 behind a row's last, which the next row overwrites, and as many numbers of x
    void (*products)(const float* x, Index low, Index end, float* out);
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
