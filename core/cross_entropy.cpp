#include "cross_entropy.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "chunks.h"
#include "dense_part.h"
#include "kernels.h"
#include "parallel.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace luce {
namespace {

using Numbers = std::vector<double>;

// Subnormal residuals (probabilities below 1e-308) would slow the passes a hundredfold and add nothing: while a pass
// works on a thread they count as 0. The caller's mode comes back at the end. Other processors do not slow down.
class FlushSubnormals {
public:
#if defined(__x86_64__)
    FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushSubnormals() { _mm_setcsr(before_); }

private:
    unsigned before_;
#endif
};

// Waking a thread costs some 50 microseconds: below about that much work, the caller works alone.
int worth(int threads, double operations) { return operations < 1.5e6 ? 1 : threads; }

// One thread's buffers for a tile.
struct Scratch {
    Numbers z, direction, residual, scratch;
    explicit Scratch(int outputs)
        : z(outputs * TILE),
          direction(outputs * TILE),
          residual(outputs * TILE),
          scratch(std::max<Index>(outputs, 1) * TILE) {}
};

// The weights of a pass as the caller has them, feature-major, with the intercepts.
struct Weights {
    const double* columns;
    const double* bias;
};

// z = tile of X times weights plus bias
void multiply(const Features& x, DensePart& dense, Index tile, int rows, const Weights& w, int outputs, Scratch& s,
              double* z) {
    dense.forward(w.bias, z);
    if (x.sparse.columns > 0)
        kernels().forward_sparse(x.sparse, tile * TILE, rows, w.columns + x.dense_columns * outputs, outputs, z,
                                 s.scratch.data());
}

// The labels and weights of a tile, with weight 0 in unused lanes.
struct TileTargets {
    std::int32_t label[TILE] = {};
    double weight[TILE] = {};
    TileTargets(const Targets& y, Index tile, int rows) {
        std::copy_n(y.label + tile * TILE, rows, label);
        if (y.weight)
            std::copy_n(y.weight + tile * TILE, rows, weight);
        else
            std::fill_n(weight, rows, 1.0);
    }
};

// Copies a tile of a class-major array into out (outputs x TILE), zeros in unused lanes.
void gather(const double* from, Index stride, Index tile, int rows, int outputs, double* out) {
    for (int k = 0; k < outputs; ++k) {
        std::memcpy(out + k * TILE, from + k * stride + tile * TILE, rows * sizeof(double));
        std::fill(out + k * TILE + rows, out + (k + 1) * TILE, 0.0);
    }
}

// The other way: a tile into a class-major array.
void scatter(const double* tile, Index stride, Index number, int rows, int outputs, double* to) {
    for (int k = 0; k < outputs; ++k)
        std::memcpy(to + k * stride + number * TILE, tile + k * TILE, rows * sizeof(double));
}

// A sweep over this thread's buffers: z in, residual out.
Sweep sweep_of(Scratch& s, int outputs) {
    Sweep w{};
    w.outputs = outputs;
    w.z = s.z.data();
    w.residual = s.residual.data();
    w.scratch = s.scratch.data();
    return w;
}

// The loss of the tile whose logits are in s.z; fills s.residual.
double sweep_tile(Scratch& s, int outputs, const Targets& y, Index tile, int rows, const double* correction) {
    const TileTargets target(y, tile, rows);
    Sweep w = sweep_of(s, outputs);
    w.label = target.label;
    w.weight = target.weight;
    w.correction = correction;
    kernels().sweep(w);
    return total(w.loss);
}

// Fills s.residual with the probabilities at s.z, each exact to rounding, also beside a 1: the residual of the largest
// class holds minus the sum of the others. With one output s.direction gets 1 - p.
void probabilities(Scratch& s, int outputs) {
    std::int32_t label[TILE];
    double ones[TILE], top[TILE];
    for (int r = 0; r < TILE; ++r) {
        ones[r] = 1.0;
        top[r] = outputs == 1 ? 0.0 : s.z[r];
        label[r] = outputs == 1 && s.z[r] > 0.0;
    }
    for (int k = 1; k < outputs; ++k)
        for (int r = 0; r < TILE; ++r) {
            const bool larger = s.z[k * TILE + r] > top[r];
            label[r] = larger ? k : label[r];
            top[r] = larger ? s.z[k * TILE + r] : top[r];
        }
    Sweep w = sweep_of(s, outputs);
    w.label = label;
    w.weight = ones;
    kernels().sweep(w);
    for (int r = 0; r < TILE; ++r) {
        double& largest = s.residual[(outputs == 1 ? 0 : label[r]) * TILE + r];
        if (outputs == 1) s.direction[r] = label[r] ? -largest : 1.0 - largest;
        if (outputs > 1 || label[r]) largest += 1.0;
    }
}

// Sums of X'R over the tiles of one chunk, and of R in LANES partial sums.
class GradientSum {
public:
    GradientSum(const Features& x, DensePart& dense, int outputs, double* gradient)
        : x_(x), dense_(dense), outputs_(outputs), gradient_(gradient), bias_(outputs * LANES) {}

    void add(Index tile, int rows, Scratch& s) {
        const double* residual = s.residual.data();
        dense_.backward(residual);
        if (x_.sparse.columns > 0)
            kernels().backward_sparse(x_.sparse, tile * TILE, rows, residual, outputs_,
                                      gradient_ + x_.dense_columns * outputs_, s.scratch.data());
        for (int c = 0; c < outputs_; ++c)
            for (int r = 0; r < TILE; ++r) bias_[c * LANES + r % LANES] += residual[c * TILE + r];
    }

    void finish() const {
        dense_.gradient(gradient_);
        double* last = gradient_ + x_.columns() * outputs_;
        for (int c = 0; c < outputs_; ++c) last[c] = total(&bias_[c * LANES]);
    }

private:
    const Features& x_;
    DensePart& dense_;
    int outputs_;
    double* gradient_;
    Numbers bias_;
};

// The pass that forward-and-backward passes share: residual_of(tile, rows, dense, s, extra sums) fills s.residual for a
// tile, then X'R is summed; the sums of each chunk, `width` numbers, of which the last are `extra` ones.
template <class ResidualOf>
void gradient_chunks(const Features& x, const DensePlan& plan, const Chunks& chunks, int outputs, Index width,
                     Index extra, int threads, double* parts, const ResidualOf& residual_of) {
    each_chunk(chunks, width, threads, parts, [&](Index c, double* part) {
        const FlushSubnormals flush;
        const std::unique_ptr<DensePart> dense = plan.part();
        Scratch s(outputs);
        GradientSum sum(x, *dense, outputs, part);
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int rows = chunks.rows_in(t);
            dense->load(t, rows);
            residual_of(t, rows, *dense, s, part + width - extra);
            sum.add(t, rows, s);
        }
        sum.finish();
    });
}

// The same added up: gradient, and after it the extra sums.
template <class ResidualOf>
void gradient_pass(const Features& x, const DensePlan& plan, int outputs, double* gradient, Index extra, int threads,
                   const ResidualOf& residual_of) {
    const Index width = (x.columns() + 1) * outputs + extra;
    const Chunks chunks(x.rows, width);
    const std::unique_ptr<double[]> parts(new double[chunks.count * width]);
    gradient_chunks(x, plan, chunks, outputs, width, extra, threads, parts.get(), residual_of);
    add_chunks(parts.get(), chunks.count, width, gradient, threads);
}

// Where a pass has its logits from: an array, or rows and weights, a tile after the other.
struct KeptLogits {
    const double* logits;
    Index stride;
    int outputs;
    const KeptLogits& reader() const { return *this; }
    void read(Index tile, int rows, Scratch& s) const { gather(logits, stride, tile, rows, outputs, s.z.data()); }
};

struct WorkedLogits {
    const Features& x;
    const Weights& w;
    int outputs;
    DensePlan plan;
    WorkedLogits(const Features& features, const Weights& weights, int width)
        : x(features), w(weights), outputs(width), plan(features, width, false, weights.columns) {}

    struct Reader {
        const WorkedLogits& from;
        std::unique_ptr<DensePart> dense;
        void read(Index tile, int rows, Scratch& s) const {
            dense->load(tile, rows);
            multiply(from.x, *dense, tile, rows, from.w, from.outputs, s, s.z.data());
        }
    };
    Reader reader() const { return {*this, plan.part()}; }
};

// Calls body(tile, rows in it, targets, scratch) with the probabilities of every tile of logits in scratch.residual.
template <class Logits, class Body>
void over_probabilities(const Logits& logits, Index rows, const Targets& y, int threads, const Body& body) {
    const int outputs = y.outputs();
    const Chunks chunks(rows, 1);
    parallel_for(chunks.count, threads, [&](Index c) {
        const FlushSubnormals flush;
        Scratch s(outputs);
        const auto& reader = logits.reader();
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int n = chunks.rows_in(t);
            reader.read(t, n, s);
            probabilities(s, outputs);
            body(t, n, TileTargets(y, t, n), s);
        }
    });
}

// The curvature of the intercepts, chunk by chunk: outputs x outputs numbers each.
template <class Logits>
void intercept_chunks(const Logits& logits, const Chunks& chunks, const Targets& y, double* parts, int threads) {
    const int outputs = y.outputs();
    each_chunk(chunks, static_cast<Index>(outputs) * outputs, threads, parts, [&](Index c, double* part) {
        const FlushSubnormals flush;
        Scratch s(outputs);
        const auto& reader = logits.reader();
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int n = chunks.rows_in(t);
            const TileTargets target(y, t, n);
            reader.read(t, n, s);
            probabilities(s, outputs);
            if (outputs == 1) {
                for (int r = 0; r < TILE; ++r) s.direction[r] *= target.weight[r];
                part[0] += kernels().dot(s.direction.data(), s.residual.data(), TILE);
            }
            for (int a = 1; a < outputs; ++a) {
                double* weighted = &s.direction[a * TILE];
                for (int r = 0; r < TILE; ++r) weighted[r] = target.weight[r] * s.residual[a * TILE + r];
                for (int b = 0; b < a; ++b)
                    part[a * outputs + b] -= kernels().dot(weighted, &s.residual[b * TILE], TILE);
            }
        }
        // Every row sums to 0: the diagonal from the others, not as p - p^2, which loses all digits where p is near 1.
        for (int a = 0; a < outputs; ++a)
            for (int b = 0; b < a; ++b) {
                const double off = part[a * outputs + b];
                part[b * outputs + a] = off;
                part[a * outputs + a] -= off;
                part[b * outputs + b] -= off;
            }
    });
}

template <class Logits>
void write_row_curvature(const Logits& logits, Index rows, const Targets& y, double* curvature, int threads) {
    const int outputs = y.outputs();
    over_probabilities(logits, rows, y, threads, [&](Index t, int n, const TileTargets& target, Scratch& s) {
        for (int r = 0; r < n; ++r) {
            double sum = 0.0;
            for (int k = 0; k < outputs; ++k) sum += s.residual[k * TILE + r] * (1.0 - s.residual[k * TILE + r]);
            curvature[t * TILE + r] = target.weight[r] * (outputs == 1 ? 2.0 * sum : sum);
        }
    });
}

// The columns cut into ranges of which each stores about as much: count + 1 ends, by every sixteenth row.
std::vector<Index> equal_ranges(const Csr& x, int count) {
    constexpr Index EVERY = 16;
    std::vector<Index> stored(x.columns);
    Index all = 0;
    for (Index i = 0; i < x.rows; i += EVERY) {
        for (Index e = x.starts[i]; e < x.starts[i + 1]; ++e) ++stored[x.indices[e]];
        all += x.starts[i + 1] - x.starts[i];
    }
    std::vector<Index> cuts(1);
    Index met = 0;
    for (Index j = 0; j < x.columns; ++j) {
        while (static_cast<int>(cuts.size()) < count && met * count >= all * static_cast<Index>(cuts.size()))
            cuts.push_back(j);
        met += stored[j];
    }
    cuts.resize(count + 1, x.columns);
    return cuts;
}

double operations(const Features& x, int outputs) {
    const double stored = x.sparse.columns > 0 ? static_cast<double>(x.sparse.starts[x.rows]) : 0.0;
    return (static_cast<double>(x.rows) * static_cast<double>(x.dense_columns + 10) + 4 * stored) * outputs;
}

}  // namespace

void forward(const Features& x, const double* weights, const double* bias, int outputs, double* logits, Index stride,
             int threads, bool single) {
    const DensePlan plan(x, outputs, single, weights);
    const Chunks chunks(x.rows, 1);
    parallel_for(chunks.count, worth(threads, operations(x, outputs)), [&](Index c) {
        const FlushSubnormals flush;
        const std::unique_ptr<DensePart> dense = plan.part();
        Scratch s(outputs);
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int rows = chunks.rows_in(t);
            dense->load(t, rows);
            multiply(x, *dense, t, rows, {weights, bias}, outputs, s, s.z.data());
            scatter(s.z.data(), stride, t, rows, outputs, logits);
        }
    });
}

Derivatives along(const double* logits, const double* direction, double step, Index stride, Index rows,
                  const Targets& y, int threads) {
    const int outputs = y.outputs();
    const Chunks chunks(rows, 3);
    double sums[3];
    sum_over_chunks(chunks, 3, worth(threads, 20.0 * rows * outputs), sums, [&](Index c, double* part) {
        const FlushSubnormals flush;
        Scratch s(outputs);
        Sweep w = sweep_of(s, outputs);
        w.direction = s.direction.data();
        w.step = step;
        w.residual = nullptr;
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int n = chunks.rows_in(t);
            const TileTargets target(y, t, n);
            w.label = target.label;
            w.weight = target.weight;
            gather(logits, stride, t, n, outputs, s.z.data());
            gather(direction, stride, t, n, outputs, s.direction.data());
            kernels().sweep(w);
        }
        part[0] = total(w.loss);
        part[1] = total(w.slope);
        part[2] = total(w.curve);
    });
    return {sums[0], sums[1], sums[2]};
}

double gradient_at(const Features& x, double* logits, const double* direction, double step, Index stride,
                   const Targets& y, const double* correction, double* gradient, int threads, bool single) {
    const int outputs = y.outputs();
    const DensePlan plan(x, outputs, single, nullptr);
    Numbers sums((x.columns() + 1) * outputs + 1);
    gradient_pass(x, plan, outputs, sums.data(), 1, worth(threads, 2 * operations(x, outputs)),
                  [&](Index t, int rows, DensePart&, Scratch& s, double* loss) {
                      gather(logits, stride, t, rows, outputs, s.z.data());
                      if (direction) {
                          gather(direction, stride, t, rows, outputs, s.direction.data());
                          for (Index i = 0; i < outputs * TILE; ++i) s.z[i] += step * s.direction[i];
                          scatter(s.z.data(), stride, t, rows, outputs, logits);
                      }
                      *loss += sweep_tile(s, outputs, y, t, rows, correction);
                  });
    std::copy(sums.begin(), sums.end() - 1, gradient);
    return sums.back();
}

double whole_step(const Features& x, const double* logits, const double* v, const double* c, Index stride,
                  const Targets& y, double* along, double* gradient, int threads, bool single) {
    const int outputs = y.outputs();
    const DensePlan plan(x, outputs, single, v);
    Numbers sums((x.columns() + 1) * outputs + 1);
    gradient_pass(x, plan, outputs, sums.data(), 1, worth(threads, 2 * operations(x, outputs)),
                  [&](Index t, int rows, DensePart& dense, Scratch& s, double* loss) {
                      multiply(x, dense, t, rows, {v, c}, outputs, s, s.direction.data());
                      scatter(s.direction.data(), stride, t, rows, outputs, along);
                      gather(logits, stride, t, rows, outputs, s.z.data());
                      for (Index i = 0; i < outputs * TILE; ++i) s.z[i] += s.direction[i];
                      *loss += sweep_tile(s, outputs, y, t, rows, nullptr);
                  });
    std::copy(sums.begin(), sums.end() - 1, gradient);
    return sums.back();
}

double residuals(const double* logits, Index stride, Index rows, const Targets& y, const double* correction,
                 double* residual, int threads) {
    const int outputs = y.outputs();
    const Chunks chunks(rows, 1);
    double loss = 0.0;
    sum_over_chunks(chunks, 1, worth(threads, 20.0 * rows * outputs), &loss, [&](Index c, double* part) {
        const FlushSubnormals flush;
        Scratch s(outputs);
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int n = chunks.rows_in(t);
            gather(logits, stride, t, n, outputs, s.z.data());
            *part += sweep_tile(s, outputs, y, t, n, correction);
            scatter(s.residual.data(), stride, t, n, outputs, residual);
        }
    });
    return loss;
}

void transposed_product(const Features& x, const double* residual, Index stride, int outputs, double* gradient,
                        int threads) {
    threads = worth(threads, 2 * operations(x, outputs));
    if (x.dense_columns > 0) {
        const DensePlan plan(x, outputs, false, nullptr);
        Numbers sums((x.columns() + 1) * outputs);
        gradient_pass(x, plan, outputs, sums.data(), 0, threads,
                      [&](Index t, int rows, DensePart&, Scratch& s, double*) {
                          gather(residual, stride, t, rows, outputs, s.residual.data());
                      });
        std::copy(sums.begin(), sums.end() - outputs, gradient);
        return;
    }
    const std::vector<Index> cuts = equal_ranges(x.sparse, threads);
    parallel_for(threads, threads, [&](Index g) {
        const Index first = cuts[g], end = cuts[g + 1];
        std::fill(gradient + first * outputs, gradient + end * outputs, 0.0);
        Numbers r(outputs);
        for (Index i = 0; i < x.rows; ++i) {
            for (int k = 0; k < outputs; ++k) r[k] = residual[k * stride + i];
            sparse_cells(x.sparse, i, [&](Index j, double value) {
                if (j < first || j >= end) return;
                double* to = gradient + j * outputs;
                if (outputs == 1) {
                    *to += value * r[0];
                    return;
                }
                for (int k = 0; k < outputs; ++k) to[k] += value * r[k];
            });
        }
    });
}

void cross_entropy_chunks(const Features& x, Index all, const double* weights, const double* bias, const Targets& y,
                          const double* correction, double* parts, int threads, bool single) {
    const int outputs = y.outputs();
    const DensePlan plan(x, outputs, single, weights);
    const Index width = (x.columns() + 1) * outputs + 1;
    gradient_chunks(x, plan, Chunks(x.rows, width, all), outputs, width, 1, worth(threads, 2 * operations(x, outputs)),
                    parts, [&](Index t, int rows, DensePart& dense, Scratch& s, double* loss) {
                        multiply(x, dense, t, rows, {weights, bias}, outputs, s, s.z.data());
                        *loss += sweep_tile(s, outputs, y, t, rows, correction);
                    });
}

void hessian_product(const Features& x, const double* logits, Index stride, const Targets& y, const double* v,
                     const double* c, double* product, int threads, bool single) {
    const int outputs = y.outputs();
    const DensePlan plan(x, outputs, single, v);
    gradient_pass(x, plan, outputs, product, 0, worth(threads, 2 * operations(x, outputs)),
                  [&](Index t, int rows, DensePart& dense, Scratch& s, double*) {
                      const TileTargets target(y, t, rows);
                      gather(logits, stride, t, rows, outputs, s.z.data());
                      multiply(x, dense, t, rows, {v, c}, outputs, s, s.direction.data());
                      Sweep w = sweep_of(s, outputs);
                      w.direction = s.direction.data();
                      w.label = target.label;
                      w.weight = target.weight;
                      kernels().curvature(w);
                  });
}

void intercept_curvature(const double* logits, Index stride, Index rows, const Targets& y, double* hessian,
                         int threads) {
    const Index width = static_cast<Index>(y.outputs()) * y.outputs();
    const Chunks chunks(rows, width);
    const std::unique_ptr<double[]> parts(new double[chunks.count * width]);
    intercept_chunks(KeptLogits{logits, stride, y.outputs()}, chunks, y, parts.get(),
                     worth(threads, 10.0 * rows * width));
    add_chunks(parts.get(), chunks.count, width, hessian, threads);
}

void intercept_curvature_chunks(const Features& x, Index all, const double* weights, const double* bias,
                                const Targets& y, double* parts, int threads) {
    const int outputs = y.outputs();
    const Index width = static_cast<Index>(outputs) * outputs;
    const Weights w{weights, bias};
    intercept_chunks(WorkedLogits(x, w, outputs), Chunks(x.rows, width, all), y, parts,
                     worth(threads, operations(x, outputs) + 10.0 * x.rows * width));
}

void row_curvature(const double* logits, Index stride, Index rows, const Targets& y, double* curvature, int threads) {
    write_row_curvature(KeptLogits{logits, stride, y.outputs()}, rows, y, curvature,
                        worth(threads, 20.0 * rows * y.outputs()));
}

void row_curvature_at(const Features& x, const double* weights, const double* bias, const Targets& y, double* curvature,
                      int threads) {
    const Weights w{weights, bias};
    write_row_curvature(WorkedLogits(x, w, y.outputs()), x.rows, y, curvature,
                        worth(threads, operations(x, y.outputs())));
}

void curvature_along(const double* logits, Index stride, Index rows, const Targets& y, const double* basis,
                     double* curvature, int threads) {
    const int outputs = y.outputs();
    Numbers squares(outputs * outputs);
    for (int i = 0; i < outputs * outputs; ++i) squares[i] = basis[i] * basis[i];
    const KeptLogits kept{logits, stride, outputs};
    const int some = worth(threads, 20.0 * rows * outputs);
    over_probabilities(kept, rows, y, some, [&](Index t, int n, const TileTargets& target, Scratch& s) {
        const double* p = s.residual.data();
        kernels().forward(p, outputs, basis, nullptr, outputs, s.z.data());
        kernels().forward(p, outputs, squares.data(), nullptr, outputs, s.scratch.data());
        for (int m = 0; m < outputs; ++m)
            for (int r = 0; r < n; ++r) {
                const double mean = s.z[m * TILE + r];
                const double along = s.scratch[m * TILE + r] - mean * mean;
                curvature[m * rows + t * TILE + r] = target.weight[r] * std::max(along, 0.0);
            }
    });
}

}  // namespace luce
