#include "pair_sums.h"

#include <algorithm>

#include "parallel.h"

namespace luce {

void pair_sums(const std::uint8_t* codes, Index rows, Index parts, const std::uint8_t* group, Index groups,
               const double* numbers, Index width, const std::int32_t* pairs, Index count, double* out, int threads) {
    const Index size = groups * parts * parts * width;
    parallel_for(count, threads, [&](Index m) {
        const std::uint8_t* first = codes + pairs[2 * m] * rows;
        const std::uint8_t* second = codes + pairs[2 * m + 1] * rows;
        double* sums = out + m * size;
        std::fill(sums, sums + size, 0.0);
        for (Index i = 0; i < rows; ++i) {
            double* sum = sums + ((group[i] * parts + first[i]) * parts + second[i]) * width;
            const double* own = numbers + i * width;
            for (Index j = 0; j < width; ++j) sum[j] += own[j];
        }
    });
}

}  // namespace luce
