#include "quasi_newton.h"

#include <algorithm>

#include "gram.h"
#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index RANGE = 1 << 14;  // numbers that a thread takes at a time

// Runs body(first, count) over fixed ranges of n numbers.
template <class Body>
void over_ranges(Index n, int threads, const Body& body) {
    const Index ranges = (n + RANGE - 1) / RANGE;
    parallel_for(ranges, ranges < 4 ? 1 : threads,
                 [&](Index g) { body(g, g * RANGE, std::min(RANGE, n - g * RANGE)); });
}

double dot(const double* a, const double* b, Index n, int threads) {
    std::vector<double> parts((n + RANGE - 1) / RANGE);
    over_ranges(n, threads,
                [&](Index g, Index first, Index count) { parts[g] = kernels().dot(a + first, b + first, count); });
    double sum = 0.0;
    for (const double part : parts) sum += part;
    return sum;
}

// a -= factor * b
void subtract(double* a, const double* b, double factor, Index n, int threads) {
    over_ranges(n, threads, [&](Index, Index first, Index count) {
        kernels().subtract_scaled(a + first, b + first, factor, count);
    });
}

}  // namespace

void Metric::solve(const double* gradient, double* out, int threads) const {
    solve_part(exact, size, gradient, out, threads, [&](double* right) {
        if (coupled)
            solve_factors(factors, 1, (outputs - 1) * size, right, 1, threads);
        else
            solve_factors(factors, count, size, right, outputs, threads);
    });
    const Index others = columns - size;
    solve_part(rest, others, gradient, out, threads, [&](double* right) {
        for (Index i = 0; i < outputs * others; ++i) right[i] /= diagonal[i];
    });
}

// Some columns of the gradient, turned into the basis (outputs x n), solved there and turned back.
template <class Solve>
void Metric::solve_part(const Index* chosen, Index n, const double* gradient, double* out, int threads,
                        const Solve& solve) const {
    const Kernels& k = kernels();
    const Index each = 256;
    const auto over_columns = [&](const auto& body) {
        parallel_for((n + each - 1) / each, n * outputs * outputs < 200'000 ? 1 : threads, [&](Index g) {
            std::vector<double> turned(outputs);
            for (Index i = g * each; i < std::min(n, (g + 1) * each); ++i) body(i, chosen[i] * outputs, turned.data());
        });
    };
    std::vector<double> right(outputs * n);
    over_columns([&](Index i, Index at, double* turned) {
        std::fill(turned, turned + outputs, 0.0);
        for (int c = 0; c < outputs; ++c) k.subtract_scaled(turned, basis + c * outputs, -gradient[at + c], outputs);
        for (int m = 0; m < outputs; ++m) right[m * n + i] = turned[m];
    });
    solve(right.data());
    over_columns([&](Index i, Index at, double* turned) {
        for (int m = 0; m < outputs; ++m) turned[m] = right[m * n + i];
        for (int c = 0; c < outputs; ++c) out[at + c] = k.dot(turned, basis + c * outputs, outputs);
    });
}

double Product::operator()(const double* u, const double* v, int threads) const {
    if (paired == 0) return dot(u, v, length, threads);
    const Index rest = length - 2 * paired;
    return dot(u, v + paired, paired, threads) + kernels().dot(u + 2 * paired, v + 2 * paired, rest);
}

void History::remember(const double* step, const double* change, int threads) {
    const double product = product_(step, change, threads), square = product_(change, change, threads);
    if (!(product > 1e-14 * square)) return;
    if (static_cast<int>(pairs_.size()) == memory_) {
        std::rotate(pairs_.begin(), pairs_.begin() + 1, pairs_.end());
    } else {
        pairs_.emplace_back();
    }
    Pair& last = pairs_.back();
    last.step.assign(step, step + product_.length);
    last.change.assign(change, change + product_.length);
    last.product = product;
    last.stiffness = square / product;
}

void History::copy(std::size_t i, double* step, double* change) const {
    std::copy(pairs_[i].step.begin(), pairs_[i].step.end(), step);
    std::copy(pairs_[i].change.begin(), pairs_[i].change.end(), change);
}

template <class Solve>
double History::two_loops(const double* gradient, double* out, int threads, const Solve& solve) const {
    const Index length = product_.length;
    std::vector<double> q(gradient, gradient + length), share(pairs_.size());
    for (std::size_t i = pairs_.size(); i-- > 0;) {
        share[i] = product_(pairs_[i].step.data(), q.data(), threads) / pairs_[i].product;
        subtract(q.data(), pairs_[i].change.data(), share[i], length, threads);
    }
    solve(q.data());
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
        const double back = product_(pairs_[i].change.data(), out, threads) / pairs_[i].product;
        subtract(out, pairs_[i].step.data(), back - share[i], length, threads);
    }
    for (Index i = 0; i < length; ++i) out[i] = -out[i];
    return product_(gradient, out, threads);
}

double History::direction(const double* gradient, const Metric& metric, double* out, int threads) const {
    return two_loops(gradient, out, threads, [&](const double* q) { metric.solve(q, out, threads); });
}

double History::direction(const double* gradient, double first, double* out, int threads) const {
    const double inverse = pairs_.empty() ? first : 1.0 / pairs_.back().stiffness;
    return two_loops(gradient, out, threads, [&](const double* q) {
        for (Index i = 0; i < product_.length; ++i) out[i] = inverse * q[i];
    });
}

}  // namespace luce
