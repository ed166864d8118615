#include "row_space.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index PARTS = 8;    // columns are cut into at most so many parts, each with a result of its own
constexpr Index EACH = 4096;  // rows or columns that a thread takes at a time

Index width_of(int outputs) { return outputs == 1 ? 1 : (outputs + 3) / 4 * 4; }

}  // namespace

RowSpace::RowSpace(const Csr& x) : rows_(x.rows), columns_(x.columns), alone_(x.rows) {
    const Index stored = x.starts[x.rows];
    std::vector<Index> count(x.columns);
    for (Index e = 0; e < stored; ++e) ++count[x.indices[e]];
    std::vector<Index> next(x.columns);
    starts_.push_back(0);
    const auto place = [&](Index j) {
        next[j] = names_.empty() ? 0 : next[names_.back()] + count[names_.back()];
        names_.push_back(j);
    };
    for (Index j = 0; j < x.columns; ++j) {
        if (count[j] < 2) continue;
        place(j);
        starts_.push_back(next[j] + count[j]);
    }
    for (Index j = 0; j < x.columns; ++j)
        if (count[j] == 1) place(j);
    places_.resize(stored);
    if (x.doubles != nullptr)
        doubles_.resize(stored);
    else
        values_.resize(stored);
    for (Index i = 0; i < x.rows; ++i)
        for (Index e = x.starts[i]; e < x.starts[i + 1]; ++e) {
            const Index j = x.indices[e], at = next[j]++;
            const double value = x.value(e);
            if (count[j] == 1) alone_[i] += value * value;
            places_[at] = static_cast<std::int32_t>(i);
            if (x.doubles != nullptr)
                doubles_[at] = value;
            else
                values_[at] = static_cast<float>(value);
        }
}

std::vector<double> RowSpace::by_row(const double* a, int outputs, Index width, int threads) const {
    std::vector<double> out(rows_ * width);
    parallel_for((rows_ + EACH - 1) / EACH, rows_ * width < 50'000 ? 1 : threads, [&](Index g) {
        for (Index i = g * EACH; i < std::min(rows_, (g + 1) * EACH); ++i)
            for (int k = 0; k < outputs; ++k) out[i * width + k] = a[k * rows_ + i];
    });
    return out;
}

void RowSpace::product(const double* a, int outputs, double* z, int threads) const {
    const Index width = width_of(outputs), stored = starts_.back();
    const Index parts = std::clamp<Index>(stored / (4 * rows_), 2, PARTS);  // results must cost little beside products
    const std::vector<double> turned = by_row(a, outputs, width, threads);
    std::vector<double> sums(parts * rows_ * width);
    parallel_for(parts, stored * width < 200'000 ? 1 : threads, [&](Index part) {
        const auto cut = [&](Index p) {
            const auto at = std::lower_bound(starts_.begin(), starts_.end(), stored * p / parts);
            return p == parts ? shared() : static_cast<Index>(at - starts_.begin());
        };
        double* sum = &sums[part * rows_ * width];
        const Index first = cut(part), end = cut(part + 1);
        if (doubles_.empty())
            kernels().columns32(&starts_[0], first, end, places_.data(), values_.data(), turned.data(), width, sum);
        else
            kernels().columns64(&starts_[0], first, end, places_.data(), doubles_.data(), turned.data(), width, sum);
    });
    parallel_for((rows_ + EACH - 1) / EACH, rows_ * width < 50'000 ? 1 : threads, [&](Index g) {
        for (Index i = g * EACH; i < std::min(rows_, (g + 1) * EACH); ++i)
            for (int k = 0; k < outputs; ++k) {
                double sum = alone_[i] * turned[i * width + k];
                for (Index p = 0; p < parts; ++p) sum += sums[(p * rows_ + i) * width + k];
                z[k * rows_ + i] = sum;
            }
    });
}

void RowSpace::peaks(const double* r, int outputs, double least, double* peak, double* excess, int threads) const {
    const Index width = width_of(outputs), count = static_cast<Index>(names_.size());
    const std::vector<double> turned = by_row(r, outputs, width, threads);
    std::fill(peak, peak + columns_, 0.0);
    std::fill(excess, excess + columns_, 0.0);
    parallel_for((count + EACH - 1) / EACH, threads, [&](Index g) {
        std::vector<double> sums(width);
        for (Index c = g * EACH; c < std::min(count, (g + 1) * EACH); ++c) {
            const Index alone = c - shared(), first = alone < 0 ? starts_[c] : starts_.back() + alone;
            const Index end = alone < 0 ? starts_[c + 1] : first + 1;
            std::fill(sums.begin(), sums.end(), 0.0);
            for (Index e = first; e < end; ++e) {
                const double value = doubles_.empty() ? static_cast<double>(values_[e]) : doubles_[e];
                kernels().subtract_scaled(sums.data(), &turned[places_[e] * width], -value, width);
            }
            const Index j = names_[c];
            for (int k = 0; k < outputs; ++k) {
                const double size = std::fabs(sums[k]), beyond = std::max(size - least, 0.0);
                peak[j] = std::max(peak[j], size);
                excess[j] += beyond * beyond;
            }
        }
    });
}

}  // namespace luce
