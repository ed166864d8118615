#include "softmax.h"

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace luce {
namespace {

constexpr Index BLOCK = 1 << 15;  // numbers a thread takes at a time

// Shifted by the largest first: a small temperature must not overflow. Softmax does not see the shift.
void divide(std::vector<double>& row, double temperature) {
    const double top = *std::max_element(row.begin(), row.end());
    for (double& z : row) z = (z - top) / temperature;
}

}  // namespace

template <class T>
void softmax(const T* z, Index rows, Index columns, double temperature, Softmax kind, T* out, double* totals,
             int threads) {
    const Index each = columns < BLOCK ? BLOCK / columns : 1;
    parallel_for((rows + each - 1) / each, threads, [&](Index block) {
        std::vector<double> row(columns), result(out ? columns : 0);
        const Index end = rows < (block + 1) * each ? rows : (block + 1) * each;
        for (Index i = block * each; i < end; ++i) {
            for (Index k = 0; k < columns; ++k) row[k] = static_cast<double>(z[i * columns + k]);
            if (temperature != 1.0) divide(row, temperature);
            const double total =
                kernels().softmax_row(row.data(), columns, static_cast<int>(kind), out ? result.data() : nullptr);
            if (totals) totals[i] = total;
            if (out)
                for (Index k = 0; k < columns; ++k) out[i * columns + k] = static_cast<T>(result[k]);
        }
    });
}

template <class T>
void sigmoid(const T* z, Index n, T* out, int threads) {
    parallel_for((n + BLOCK - 1) / BLOCK, threads, [&](Index block) {
        const Index first = block * BLOCK, count = n - first < BLOCK ? n - first : BLOCK;
        std::vector<double> in(count), result(count);
        for (Index i = 0; i < count; ++i) in[i] = static_cast<double>(z[first + i]);
        kernels().sigmoid(in.data(), count, result.data());
        for (Index i = 0; i < count; ++i) out[first + i] = static_cast<T>(result[i]);
    });
}

template void softmax(const float*, Index, Index, double, Softmax, float*, double*, int);
template void softmax(const double*, Index, Index, double, Softmax, double*, double*, int);
template void sigmoid(const float*, Index, float*, int);
template void sigmoid(const double*, Index, double*, int);

}  // namespace luce
