// Passes over the rows of a design matrix: logits, cross-entropy, residual, gradient, Hessian product.
//
//   z = X W + b,  P = sum_i s_i (logsumexp(z_i) - z_i[y_i])      (two classes: one column, z = (0, x w + b))
//
// Logits and residuals between passes are kept class by class: outputs x stride, stride >= rows.
// With `single`, products with a dense float32, float16 or uint8 part may be calculated in float32, summed over at most
// 64 rows before they are added in double; everything else, and float64, is double.
//
// Sums over rows run chunk by chunk (chunks.h), so the bits do not depend on the number of threads.
#pragma once
#include "view.h"

namespace luce {

struct Targets {
    const std::int32_t* label;  // rows class codes, in range (checked by the caller)
    const double* weight;       // rows, or nullptr for 1
    int classes;
    int outputs() const { return classes == 2 ? 1 : classes; }
};

struct Derivatives {
    double loss = 0, slope = 0, curve = 0;
};

// logits[k * stride + i] = x_i W[:, k] + b[k]; weights are feature-major, columns x outputs
void forward(const Features& x, const double* weights, const double* bias, int outputs, double* logits, Index stride,
             int threads, bool single);

// Loss at logits + step * direction and its first two derivatives in step; logits and direction are outputs x stride.
Derivatives along(const double* logits, const double* direction, double step, Index stride, Index rows,
                  const Targets& y, int threads);

// First logits += step * direction (if direction). Then gradient[j * outputs + k] = sum_i x_ij r_ik and, in its last
// row, sum_i r_ik, with r_i = s_i (p_i - onehot(y_i)) and p_i moved by -(diag p - p p') correction if that is given.
// Returns the loss at the logits. One read of X; the residual never leaves the cache.
double gradient_at(const Features& x, double* logits, const double* direction, double step, Index stride,
                   const Targets& y, const double* correction, double* gradient, int threads, bool single);

// along = X V + c, and the loss and gradient (as gradient_at) at logits + along: a whole step in one read of X. The
// logits stay as they are.
double whole_step(const Features& x, const double* logits, const double* v, const double* c, Index stride,
                  const Targets& y, double* along, double* gradient, int threads, bool single);

// The loss at the logits, and residual (outputs x stride) = r_i as gradient_at has them.
double residuals(const double* logits, Index stride, Index rows, const Targets& y, const double* correction,
                 double* residual, int threads);

// gradient[j * outputs + k] = sum_i x_ij r_ik for the columns of X, r being outputs x stride.
void transposed_product(const Features& x, const double* residual, Index stride, int outputs, double* gradient,
                        int threads);

// The whole in one read of X: gradient and loss at (weights, bias), with p_i moved as in gradient_at; the sums of each
// chunk, (columns + 1) * outputs + 1 numbers, where the rows of x are some of `all` (see chunks.h).
void cross_entropy_chunks(const Features& x, Index all, const double* weights, const double* bias, const Targets& y,
                          const double* correction, double* parts, int threads, bool single);

// product = X' S (diag p - p p') (X V + c), p = softmax(logits), in one read of X.
void hessian_product(const Features& x, const double* logits, Index stride, const Targets& y, const double* v,
                     const double* c, double* product, int threads, bool single);

// hessian (outputs x outputs) = sum_i s_i (diag p_i - p_i p_i'), the curvature of the intercepts
void intercept_curvature(const double* logits, Index stride, Index rows, const Targets& y, double* hessian,
                         int threads);

// The same from rows and weights, in one read of X, chunk by chunk: outputs * outputs numbers each.
void intercept_curvature_chunks(const Features& x, Index all, const double* weights, const double* bias,
                                const Targets& y, double* parts, int threads);

// curvature[i] = s_i sum_k p_ik (1 - p_ik)
void row_curvature(const double* logits, Index stride, Index rows, const Targets& y, double* curvature, int threads);

// The same from rows and weights, in one read of X.
void row_curvature_at(const Features& x, const double* weights, const double* bias, const Targets& y, double* curvature,
                      int threads);

// curvature[m * rows + i] = s_i u_m' (diag p_i - p_i p_i') u_m, u_m a column of basis (outputs x outputs)
void curvature_along(const double* logits, Index stride, Index rows, const Targets& y, const double* basis,
                     double* curvature, int threads);

}  // namespace luce
