#include "bend.h"

#include <algorithm>
#include <cmath>

namespace luce {

template <class T>
void bend(const double* x, Index rows, const double* knots, Index knot_count, const double* table, const double* sizes,
          Index functions, T* out, Index stride) {
    for (Index i = 0; i < rows; ++i) {
        const double value = std::min(std::max(x[i], knots[0]), knots[knot_count - 1]);
        if (std::isnan(x[i])) {
            for (Index j = 0; j < functions; ++j) out[j * stride + i] = 0;
            continue;
        }
        Index place = 0;  // of the last knot at or before the value that has one after it
        for (Index left = knot_count - 1; left > 1;) {
            const Index half = left / 2;
            place += knots[place + half] <= value ? half : 0;
            left -= half;
        }
        const double part = (value - knots[place]) / (knots[place + 1] - knots[place]);
        const double* before = table + place * functions;
        const double* after = before + functions;
        for (Index j = 0; j < functions; ++j)
            out[j * stride + i] = static_cast<T>((before[j] + part * (after[j] - before[j])) * sizes[j]);
    }
}

template void bend(const double*, Index, const double*, Index, const double*, const double*, Index, float*, Index);
template void bend(const double*, Index, const double*, Index, const double*, const double*, Index, double*, Index);

}  // namespace luce
