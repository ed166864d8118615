// What a pass does with the dense columns of X, a tile of rows after the other.
//
// Narrow matrices are turned: a tile is copied column by column, so that a row is a SIMD lane. Wide ones are worked
// along the rows, in place where they lie row by row. The way and all bits depend on the number of columns, never on
// the order of X in memory.
#pragma once
#include <memory>
#include <vector>

#include "kernels.h"
#include "view.h"

namespace luce {

// One thread's part: loads a tile, then multiplies it from either side.
class DensePart {
public:
    virtual ~DensePart() = default;
    virtual void load(Index tile, int rows) = 0;
    // z[k * TILE + r] = bias[k] + x_r W[:, k]
    virtual void forward(const double* bias, double* z) = 0;
    // sums += x' residual
    virtual void backward(const double* residual) = 0;
    // out[j * outputs + k] = the sums
    virtual void gradient(double* out) const = 0;
};

// Whether a pass that may calculate in float32 would.
bool can_be_single(const Features& x);

// What the parts of one pass share: the way, and the weights laid out for it.
class DensePlan {
public:
    // weights: feature-major, columns x outputs, or nullptr if the pass has no forward
    DensePlan(const Features& x, int outputs, bool single, const double* weights);
    std::unique_ptr<DensePart> part() const;

private:
    const Features& x_;
    int outputs_;
    bool single_;
    const double* weights_;
    std::vector<float> by_class32_;
    std::vector<double> by_class64_;
};

}  // namespace luce
