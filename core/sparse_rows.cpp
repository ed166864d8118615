#include "sparse_rows.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "parallel.h"

namespace luce {

namespace {

constexpr Index EACH = 1024;  // rows that a thread takes at a time

// Calls body(first row, end) for all rows in parts.
template <class Body>
void each_part(Index rows, int threads, const Body& body) {
    parallel_for((rows + EACH - 1) / EACH, threads, [&](Index g) { body(g * EACH, std::min(rows, (g + 1) * EACH)); });
}

}  // namespace

template <class T>
bool sort_rows(const std::int64_t* starts, Index rows, std::int32_t* indices, T* values, int threads) {
    std::atomic<bool> twice{false};
    each_part(rows, threads, [&](Index first, Index end) {
        std::vector<std::uint64_t> order;  // the column, and below it where in the row it is
        std::vector<T> moved;
        for (Index i = first; i < end; ++i) {
            std::int32_t* column = indices + starts[i];
            T* value = values + starts[i];
            const auto count = static_cast<std::size_t>(starts[i + 1] - starts[i]);
            if (!std::is_sorted(column, column + count)) {
                order.resize(count);
                for (std::size_t e = 0; e < count; ++e) order[e] = static_cast<std::uint64_t>(column[e]) << 32 | e;
                std::sort(order.begin(), order.end());
                moved.assign(value, value + count);
                for (std::size_t e = 0; e < count; ++e) {
                    column[e] = static_cast<std::int32_t>(order[e] >> 32);
                    value[e] = moved[order[e] & 0xffffffffu];
                }
            }
            if (std::adjacent_find(column, column + count) != column + count) twice = true;
        }
    });
    return twice;
}

Index meet_columns(const Csr& x, std::uint8_t* met, int threads) {
    std::vector<Index> alone(threads);
    parallel_for(threads, threads, [&](Index g) {
        const Index first = x.columns * g / threads, end = x.columns * (g + 1) / threads;
        std::fill(met + first, met + end, std::uint8_t{0});
        for (Index e = 0; e < x.starts[x.rows]; ++e) {
            const Index j = x.indices[e];
            if (j >= first && j < end)
                met[j] = static_cast<std::uint8_t>(met[j] + (met[j] < 2));  // no branch on a count
        }
        alone[g] = std::count(met + first, met + end, std::uint8_t{1});
    });
    return std::accumulate(alone.begin(), alone.end(), Index{0});
}

void part_rows(const Csr& x, const std::uint8_t* met, std::int64_t* shared, double* alone, int threads) {
    each_part(x.rows, threads, [&](Index first, Index end) {
        for (Index i = first; i < end; ++i) {
            shared[i] = 0;
            alone[i] = 0.0;
            sparse_cells(x, i, [&](Index j, double value) {
                if (met[j] > 1)
                    ++shared[i];
                else
                    alone[i] += value * value;
            });
        }
    });
}

template <class T>
void shared_entries(const Csr& x, const std::uint8_t* met, const std::int32_t* place, const std::int64_t* starts,
                    std::int32_t* indices, T* values, int threads) {
    each_part(x.rows, threads, [&](Index first, Index end) {
        Index at = starts[first];
        for (Index i = first; i < end; ++i)
            sparse_cells(x, i, [&](Index j, double value) {
                if (met[j] < 2) return;
                indices[at] = place[j];
                values[at] = static_cast<T>(value);
                ++at;
            });
    });
}

void spread_product(const Csr& x, const std::uint8_t* met, const std::int32_t* place, const double* shared,
                    const double* residual, int outputs, double* out, int threads) {
    each_part(x.columns, threads, [&](Index first, Index end) {
        for (Index j = first; j < end; ++j) {
            if (met[j] == 2) std::copy_n(shared + place[j] * static_cast<Index>(outputs), outputs, out + j * outputs);
            if (met[j] == 0) std::fill_n(out + j * outputs, outputs, 0.0);
        }
    });
    each_part(x.rows, threads, [&](Index first, Index end) {
        for (Index i = first; i < end; ++i)
            sparse_cells(x, i, [&](Index j, double value) {
                if (met[j] != 1) return;
                for (int k = 0; k < outputs; ++k) out[j * outputs + k] = value * residual[k * x.rows + i];
            });
    });
}

template bool sort_rows(const std::int64_t*, Index, std::int32_t*, float*, int);
template bool sort_rows(const std::int64_t*, Index, std::int32_t*, double*, int);
template void shared_entries(const Csr&, const std::uint8_t*, const std::int32_t*, const std::int64_t*, std::int32_t*,
                             float*, int);
template void shared_entries(const Csr&, const std::uint8_t*, const std::int32_t*, const std::int64_t*, std::int32_t*,
                             double*, int);

}  // namespace luce
