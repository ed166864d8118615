// A network of dense layers with a softmax output (two classes: one output, the sigmoid), trained by backpropagation
// and AdamW on batches of rows.
//
//   a_0 = (x - shift) scale,  a_l = dropout(activation(a_{l-1} W_l + b_l)),  z = a_{L-1} W_L + b_L
//   loss of a batch = sum_i s_i cross-entropy(y_i, z_i) / (rows of the batch)
//
// All in float32. A batch is cut twice: by rows (forward, and back to the first layer), then by weights (their
// gradient, summed over the rows from first to last, and the update while it is in the cache). So the bits do not
// depend on the number of threads.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "cross_entropy.h"
#include "view.h"

namespace luce {

struct NetworkShape {
    std::vector<Index> hidden;  // units of each hidden layer
    Index dense = 0, sparse = 0;
    int classes = 2;
    bool gelu = false;
    int outputs() const { return classes == 2 ? 1 : classes; }
    Index columns() const { return dense + sparse; }
};

struct Training {
    double rate = 1e-3, decay = 0.0, dropout = 0.0;
    Index batch = 128;
    std::uint64_t seed = 0;  // of what is dropped
};

// What the columns become: (x - shift) scale; the sparse ones are scaled alone.
struct Scaling {
    const double* shift;
    const double* scale;
};

// Asked now and then, by the thread that called, whether to stop: then the rest is left out, and what comes back is of
// no use.
using Stop = std::function<bool()>;

class Watch;

// What is kept of each weight: itself, and the running means of its gradient and of its square.
enum class Kept { value, mean, square };

class Network {
public:
    explicit Network(const NetworkShape& shape);
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    int layers() const { return static_cast<int>(layers_.size()); }
    Index inputs(int layer) const;
    Index outputs(int layer) const;
    // weights (inputs x outputs), bias (outputs) of a layer
    void get(int layer, Kept kept, float* weights, float* bias) const;
    // With the values the moments of AdamW begin again, and with them the count of steps.
    void set(int layer, Kept kept, const float* weights, const float* bias);
    std::uint64_t steps() const { return steps_; }
    void set_steps(std::uint64_t steps) { steps_ = steps; }

    // One run over the rows of `order`, batch by batch. Gives the sum of s_i cross-entropy, each before its batch's
    // step.
    double epoch(const Features& x, const Scaling& scaling, const Targets& y, const Index* order, Index count,
                 const Training& how, int threads, const Stop& stop);
    // The sum of s_i cross-entropy over the rows of `order`, without dropout, and its gradient: what `get` would give
    // of each layer, one after the other, weights then bias, in one array of `parameters` numbers.
    double gradient(const Features& x, const Scaling& scaling, const Targets& y, const Index* order, Index count,
                    double* out, int threads, const Stop& stop);
    Index parameters() const;
    // out: rows x outputs
    void logits(const Features& x, const Scaling& scaling, double* out, int threads, const Stop& stop) const;

private:
    struct Layer;
    struct Batch;
    template <class Take>
    double run(Batch& batch, const Training& how, std::uint64_t step, int threads, Watch& watch, const Take& take);
    void load(Batch& batch, Index first, Index end) const;
    void forward(Batch& batch, Index first, Index end, const Training* how, std::uint64_t step) const;
    void backward(Batch& batch, Index first, Index end) const;

    NetworkShape shape_;
    std::vector<std::unique_ptr<Layer>> layers_;
    std::uint64_t steps_ = 0;
    std::vector<std::int32_t> slot_;  // of each sparse column in the batch, -1 if it has none
};

}  // namespace luce
