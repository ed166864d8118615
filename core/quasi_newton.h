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

// The last `memory` steps and the changes of the gradient along them.
class History {
public:
    History(Index length, int memory) : length_(length), memory_(memory) {}
    void forget() { pairs_.clear(); }
    // A pair along which the gradient does not grow says nothing about a minimum and is not kept.
    void remember(const double* step, const double* change, int threads);
    // out = minus the inverse Hessian estimate times the gradient; gives its product with the gradient.
    double direction(const double* gradient, const Metric& metric, double* out, int threads) const;

private:
    struct Pair {
        std::vector<double> step, change;
        double product;  // step . change
    };
    Index length_;
    int memory_;
    std::vector<Pair> pairs_;
};

}  // namespace luce
