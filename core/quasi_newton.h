// Directions of limited-memory BFGS in a curvature metric (Nocedal and Wright, Numerical Optimization, 2nd ed., 7.2).
// Points and gradients are columns x outputs numbers, row by row; the last column is the intercept.
#pragma once
#include <vector>

#include "view.h"

namespace luce {

// An approximate inverse Hessian. In the space of classes it works along the columns of `basis` (outputs x outputs);
// along each, the columns named in `exact` share a Cholesky factor, the columns in `rest` have a diagonal.
struct Metric {
    Index columns = 0;
    int outputs = 0;
    const Index* exact = nullptr;  // size numbers
    Index size = 0;
    const Index* rest = nullptr;  // columns - size numbers
    const double* basis = nullptr;
    const double* factors = nullptr;  // count x size x size, count either 1 or outputs; or coupled
    Index count = 0;
    bool coupled = false;  // one factor over all directions of `basis` but the last, which is not moved along
    const double* diagonal = nullptr;  // outputs x (columns - size)

    void solve(const double* gradient, double* out, int threads) const;

private:
    template <class Solve>
    void solve_part(const Index* chosen, Index n, const double* gradient, double* out, int threads,
                    const Solve& solve) const;
};

// The inner product of two vectors of `length` numbers. With `paired` numbers, a vector is [a | z | b], a and z of that
// many each, and the product of u and v is u.a v.z + u.b v.b: vectors X'a told by a and z = X X'a (row_space.h).
struct Product {
    Index length, paired = 0;
    double operator()(const double* u, const double* v, int threads) const;
};

// The last `memory` steps and the changes of the gradient along them.
class History {
public:
    History(Product product, int memory) : product_(product), memory_(memory) {}
    void forget() { pairs_.clear(); }
    // A pair along which the gradient does not grow says nothing about a minimum and is not kept.
    void remember(const double* step, const double* change, int threads);
    std::size_t size() const { return pairs_.size(); }
    // The i-th pair, the oldest first; remembered anew in that order they are the same history.
    void copy(std::size_t i, double* step, double* change) const;
    // out = minus the inverse Hessian estimate times the gradient; gives its product with the gradient.
    double direction(const double* gradient, const Metric& metric, double* out, int threads) const;
    // The same with the newest pair's curvature for a metric, `first` times the identity where there is no pair yet.
    double direction(const double* gradient, double first, double* out, int threads) const;

private:
    template <class Solve>
    double two_loops(const double* gradient, double* out, int threads, const Solve& solve) const;
    struct Pair {
        std::vector<double> step, change;
        double product;    // step . change
        double stiffness;  // change . change / step . change
    };
    Product product_;
    int memory_;
    std::vector<Pair> pairs_;
};

}  // namespace luce
