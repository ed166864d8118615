// Exact softmax over many classes, whose logits are never there for all rows: weights in blocks of BLOCK classes,
//
//   P(W, b) = sum_i s_i (logsumexp(z_i) - z_i[y_i]) + penalty/2 |W|^2,   z_i = W x_i + b,
//
// X sparse. A point is `size()` floats, block after block, each (columns + 1) x BLOCK, its last row the intercepts;
// classes beyond the last have weights 0 and the intercept NEVER. Steps are taken in float32; what a proof rests on is
// double, and so are the intercepts there, `bias` (blocks * BLOCK). Rows are worked in tiles, and the classes of a tile
// block by block, each by one thread, rows in order: the bits do not depend on the number of threads.
#pragma once
#include <vector>

#include "block_kernels.h"
#include "cross_entropy.h"
#include "view.h"

namespace luce {

constexpr float NEVER = -1e30f;

class ClassBlocks {
public:
    // Borrows both. Rows of weight 0 are left out.
    ClassBlocks(const Csr& x, const Targets& y);

    Index blocks() const { return blocks_; }
    Index size() const { return blocks_ * each(); }

    // P at w, its gradient, and the squares |gradient of W|^2; slope (blocks * BLOCK): the gradient of the intercepts.
    struct Value {
        double value, square;
    };
    Value gradient(const float* w, double penalty, float* g, double* slope, int threads) const;

    // The loss at w; share[k] = sum_i s_i p_ik and curve[k] = sum_i s_i p_ik (1 - p_ik), blocks * BLOCK numbers each.
    double masses(const float* w, const double* bias, double* share, double* curve, int threads) const;

    // For the distributions a_ik = keep_k p_ik + gain_k f_i, f_i = sum_k (1 - keep_k) p_ik, where keep <= 1 and gain
    // sums to 1: the loss at w, |X'S(a - y) + penalty W|^2, and at least sum_i s_i KL(a_i || p_i). As a is a mean of
    // u ~ keep p and of gain, of shares 1 - f and f, its KL is at most -(1 - f) ln(1 - f) + f KL(gain || p).
    struct Bound {
        double loss, square, divergence;
    };
    Bound bound(const float* w, const double* bias, double penalty, const double* keep, const double* gain,
                int threads) const;

    // Class by class for all rows of x: classes x rows.
    void logits(const float* w, const double* bias, double* out, int threads) const;

    // inverse (as w, bfloat16): 1 / (sum_i s_i x_ij^2 p_ik (1 - p_ik) + penalty), the diagonal of the curvature of P at
    // w; of the intercepts without penalty, and 0 where a class has none.
    void take_curvature(const float* w, double penalty, std::uint16_t* inverse, int threads) const;

    // The sums and the direction of BlockKernels over a whole point.
    void products(const BlockStep& s, double* sums, int threads) const;
    double direct(const BlockStep& s, float of_gradient, float of_change, float of_step, int threads) const;
    double add_scaled(float* a, const std::uint16_t* b, float factor, int threads) const;

private:
    Index each() const { return (columns_ + 1) * BLOCK; }
    double weight(Index row) const { return y_.weight == nullptr ? 1.0 : y_.weight[row]; }
    SparseRow at(Index row, bool exact) const;
    BlockStep part(const BlockStep& s, Index block) const;
    std::vector<float> intercepts(const float* w) const;
    template <class T>
    Index tile_rows() const;
    template <class T, class Body>
    void each_tile(const float* w, const T* bias, int threads, const Body& body) const;

    Csr x_;
    Targets y_;
    Index columns_, blocks_;
    std::vector<Index> rows_;  // those with weight
    std::vector<float> own_;   // the values, where x has doubles or none
    const float* values_;
};

}  // namespace luce
