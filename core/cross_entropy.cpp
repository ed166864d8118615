#include "cross_entropy.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

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

// Chunks of whole tiles. Their number depends on the shape alone: enough for many threads, few enough
// that one partial sum of `width` numbers a chunk stays within 16 MiB, as long as there are eight.
struct Chunks {
    Index rows, tiles_each, count;

    Chunks(Index n, Index width) : rows(n) {
        const Index tiles = (n + TILE - 1) / TILE;
        const Index most = std::clamp<Index>((Index{1} << 21) / std::max<Index>(width, 1), 8, 64);
        tiles_each = std::max<Index>((tiles + most - 1) / most, 4);
        count = (tiles + tiles_each - 1) / tiles_each;
    }
    Index first_tile(Index chunk) const { return chunk * tiles_each; }
    Index end_tile(Index chunk) const { return std::min((rows + TILE - 1) / TILE, (chunk + 1) * tiles_each); }
    int rows_in(Index tile) const { return static_cast<int>(std::min<Index>(TILE, rows - tile * TILE)); }
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

// Runs body(chunk, partial sums of `width` numbers) for all chunks and adds the partial sums in order into out.
template <class Body>
void sum_over_chunks(const Chunks& chunks, Index width, int threads, double* out, const Body& body) {
    const std::unique_ptr<double[]> parts(new double[chunks.count * width]);
    parallel_for(chunks.count, threads, [&](Index c) {
        const FlushSubnormals flush;
        double* part = parts.get() + c * width;
        std::fill(part, part + width, 0.0);
        body(c, part);
    });
    const Index each = 1 << 12, ranges = (width + each - 1) / each;
    parallel_for(ranges, ranges < 16 ? 1 : threads, [&](Index g) {
        const Index first = g * each, end = std::min(width, first + each);
        std::copy(&parts[first], &parts[end], out + first);
        for (Index c = 1; c < chunks.count; ++c)
            for (Index i = first; i < end; ++i) out[i] += parts[c * width + i];
    });
}

// The pass that forward-and-backward passes share: residual_of(tile, rows, dense, s, extra sums) fills s.residual for a
// tile, then X'R is summed.
template <class ResidualOf>
void gradient_pass(const Features& x, const DensePlan& plan, int outputs, double* gradient, Index extra, int threads,
                   const ResidualOf& residual_of) {
    const Index width = (x.columns() + 1) * outputs + extra;
    const Chunks chunks(x.rows, width);
    sum_over_chunks(chunks, width, threads, gradient, [&](Index c, double* part) {
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

// Calls body(tile, rows in it, targets, scratch) with the probabilities of every tile of logits in scratch.residual.
template <class Body>
void over_probabilities(const double* logits, Index stride, Index rows, const Targets& y, int threads,
                        const Body& body) {
    const int outputs = y.outputs();
    const Chunks chunks(rows, 1);
    parallel_for(chunks.count, worth(threads, 20.0 * rows * outputs), [&](Index c) {
        const FlushSubnormals flush;
        Scratch s(outputs);
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int n = chunks.rows_in(t);
            gather(logits, stride, t, n, outputs, s.z.data());
            probabilities(s, outputs);
            body(t, n, TileTargets(y, t, n), s);
        }
    });
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
    const Index width = x.columns() * outputs, ranges = 8;
    std::fill(gradient, gradient + width, 0.0);
    parallel_for(ranges, worth(threads, 2 * operations(x, outputs)), [&](Index g) {
        const Index first = x.columns() * g / ranges, end = x.columns() * (g + 1) / ranges;
        Numbers r(outputs);
        for (Index i = 0; i < x.rows; ++i) {
            for (int k = 0; k < outputs; ++k) r[k] = residual[k * stride + i];
            const auto add = [&](Index j, double value) {
                if (j < first || j >= end) return;
                for (int k = 0; k < outputs; ++k) gradient[j * outputs + k] += value * r[k];
            };
            dense_row(x, i, add);
            sparse_cells(x.sparse, i, [&](Index j, double value) { add(x.dense_columns + j, value); });
        }
    });
}

double cross_entropy(const Features& x, const double* weights, const double* bias, const Targets& y,
                     const double* correction, double* gradient, int threads, bool single) {
    const int outputs = y.outputs();
    const DensePlan plan(x, outputs, single, weights);
    Numbers sums((x.columns() + 1) * outputs + 1);
    gradient_pass(x, plan, outputs, sums.data(), 1, worth(threads, 2 * operations(x, outputs)),
                  [&](Index t, int rows, DensePart& dense, Scratch& s, double* loss) {
                      multiply(x, dense, t, rows, {weights, bias}, outputs, s, s.z.data());
                      *loss += sweep_tile(s, outputs, y, t, rows, correction);
                  });
    std::copy(sums.begin(), sums.end() - 1, gradient);
    return sums.back();
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
    const int outputs = y.outputs();
    const Index width = static_cast<Index>(outputs) * outputs;
    const Chunks chunks(rows, width);
    sum_over_chunks(chunks, width, worth(threads, 10.0 * rows * width), hessian, [&](Index c, double* part) {
        Scratch s(outputs);
        for (Index t = chunks.first_tile(c); t < chunks.end_tile(c); ++t) {
            const int n = chunks.rows_in(t);
            const TileTargets target(y, t, n);
            gather(logits, stride, t, n, outputs, s.z.data());
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
    });
    // Every row sums to 0: the diagonal from the others, not as p - p^2, which loses all digits where p is near 1.
    for (int a = 0; a < outputs; ++a)
        for (int b = 0; b < a; ++b) {
            const double off = hessian[a * outputs + b];
            hessian[b * outputs + a] = off;
            hessian[a * outputs + a] -= off;
            hessian[b * outputs + b] -= off;
        }
}

void row_curvature(const double* logits, Index stride, Index rows, const Targets& y, double* curvature, int threads) {
    const int outputs = y.outputs();
    over_probabilities(logits, stride, rows, y, threads, [&](Index t, int n, const TileTargets& target, Scratch& s) {
        for (int r = 0; r < n; ++r) {
            double sum = 0.0;
            for (int k = 0; k < outputs; ++k) sum += s.residual[k * TILE + r] * (1.0 - s.residual[k * TILE + r]);
            curvature[t * TILE + r] = target.weight[r] * (outputs == 1 ? 2.0 * sum : sum);
        }
    });
}

void curvature_along(const double* logits, Index stride, Index rows, const Targets& y, const double* basis,
                     double* curvature, int threads) {
    const int outputs = y.outputs();
    Numbers squares(outputs * outputs);
    for (int i = 0; i < outputs * outputs; ++i) squares[i] = basis[i] * basis[i];
    over_probabilities(logits, stride, rows, y, threads, [&](Index t, int n, const TileTargets& target, Scratch& s) {
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
