#include "row_space.h"

#include <algorithm>

#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index PARTS = 8;  // columns are cut into so many parts, each with a result of its own

}  // namespace

RowSpace::RowSpace(const Csr& x) : rows_(x.rows), alone_(x.rows) {
    const Index stored = x.starts[x.rows];
    std::vector<Index> count(x.columns);
    for (Index e = 0; e < stored; ++e) ++count[x.indices[e]];
    std::vector<Index> next(x.columns, -1);
    starts_.push_back(0);
    for (Index j = 0; j < x.columns; ++j) {
        if (count[j] < 2) continue;
        next[j] = starts_.back();
        starts_.push_back(starts_.back() + count[j]);
    }
    places_.resize(starts_.back());
    if (x.doubles != nullptr)
        doubles_.resize(starts_.back());
    else
        values_.resize(starts_.back());
    for (Index i = 0; i < x.rows; ++i)
        for (Index e = x.starts[i]; e < x.starts[i + 1]; ++e) {
            Index& at = next[x.indices[e]];
            const double value = x.value(e);
            if (at < 0) {
                alone_[i] += value * value;
                continue;
            }
            places_[at] = static_cast<std::int32_t>(i);
            if (x.doubles != nullptr)
                doubles_[at++] = value;
            else
                values_[at++] = static_cast<float>(value);
        }
}

void RowSpace::product(const double* a, int outputs, double* z, int threads) const {
    const Index width = outputs == 1 ? 1 : (outputs + 3) / 4 * 4;
    const Index columns = static_cast<Index>(starts_.size()) - 1;
    std::vector<double> by_row(rows_ * width), sums(PARTS * rows_ * width);
    const Index each = 4096, ranges = (rows_ + each - 1) / each;
    parallel_for(ranges, rows_ * width < 50'000 ? 1 : threads, [&](Index g) {
        for (Index i = g * each; i < std::min(rows_, (g + 1) * each); ++i)
            for (int k = 0; k < outputs; ++k) by_row[i * width + k] = a[k * rows_ + i];
    });
    parallel_for(PARTS, stored() * width < 200'000 ? 1 : threads, [&](Index part) {
        const auto cut = [&](Index p) {
            const auto at = std::lower_bound(starts_.begin(), starts_.end(), stored() * p / PARTS);
            return p == PARTS ? columns : static_cast<Index>(at - starts_.begin());
        };
        double* sum = &sums[part * rows_ * width];
        const Index first = cut(part), end = cut(part + 1);
        if (doubles_.empty())
            kernels().columns32(&starts_[0], first, end, places_.data(), values_.data(), by_row.data(), width, sum);
        else
            kernels().columns64(&starts_[0], first, end, places_.data(), doubles_.data(), by_row.data(), width, sum);
    });
    parallel_for(ranges, rows_ * width < 50'000 ? 1 : threads, [&](Index g) {
        for (Index i = g * each; i < std::min(rows_, (g + 1) * each); ++i)
            for (int k = 0; k < outputs; ++k) {
                double sum = alone_[i] * by_row[i * width + k];
                for (Index p = 0; p < PARTS; ++p) sum += sums[(p * rows_ + i) * width + k];
                z[k * rows_ + i] = sum;
            }
    });
}

}  // namespace luce
