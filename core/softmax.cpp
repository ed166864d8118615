#include "softmax.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "parallel.h"

namespace luce {
namespace {

constexpr Index BLOCK = 1 << 15;          // numbers a thread takes at a time
constexpr Index STRIP = 64;               // with an inner axis: rows that share the cache lines they are read from
constexpr Index CACHED = Index{1} << 23;  // bytes: more than this is not expected back in the cache
constexpr Index ALONE = 1 << 16;          // fewer numbers than this are not worth waking a thread

template <class T>
void work(const SoftmaxTask<T>& t) {
    if constexpr (std::is_same_v<T, float>)
        softmax_kernels().rows32(t);
    else
        softmax_kernels().rows64(t);
}

// How many rows a thread takes at a time: whole blocks of the kernels.
Index rows_a_task(Index classes) {
    const Index block = softmax_kernels().block_rows(classes);
    return (std::max(BLOCK / classes, Index{1}) + block - 1) / block * block;
}

}  // namespace

template <class T>
void softmax(Softmax kind, const T* z, Index outer, Index classes, Index inner, double temperature, T* out, T* total,
             int threads) {
    const Index size = outer * classes * inner;
    if (size == 0) return;
    const bool past_cache = out != nullptr && out != z && size * static_cast<Index>(sizeof(T)) > CACHED;
    const Index rows = inner == 1 ? outer : inner;  // that follow each other
    const Index each = inner == 1 ? rows_a_task(classes) : std::max<Index>(BLOCK / classes, STRIP),
                blocks = (rows + each - 1) / each;
    parallel_for(inner == 1 ? blocks : outer * blocks, size < ALONE ? 1 : threads, [&](Index b) {
        const Index o = b / blocks, first = b % blocks * each;
        const Index at = inner == 1 ? first * classes : o * classes * inner + first;
        SoftmaxTask<T> t{kind,
                         z + at,
                         out ? out + at : nullptr,
                         total ? total + o * inner + first : nullptr,
                         std::min(each, rows - first),
                         classes,
                         inner == 1 ? 1 : inner,
                         inner == 1 ? 1 : inner,
                         temperature,
                         nullptr,
                         nullptr,
                         nullptr,
                         past_cache};
        work(t);
    });
}

namespace {

// A sum of numbers, with what it has lost (Neumaier).
struct Total {
    double high = 0.0, low = 0.0;
    void add(double x) {
        const double s = high + x, t = s - high;
        if (std::isfinite(s)) low += (high - (s - t)) + (x - t);
        high = s;
    }
};

}  // namespace

template <class T>
CrossEntropy cross_entropy_of_logits(const T* z, const Index* labels, const double* weights, double scale, Index rows,
                                     Index classes, T* gradient, int threads) {
    const bool past_cache = gradient != nullptr && rows * classes * static_cast<Index>(sizeof(T)) > CACHED;
    const Index each = rows_a_task(classes), blocks = (rows + each - 1) / each;
    std::vector<Total> totals(static_cast<std::size_t>(blocks));
    std::atomic<Index> outside{rows};
    parallel_for(blocks, rows * classes < ALONE ? 1 : threads, [&](Index b) {
        const Index first = b * each, count = std::min(each, rows - first);
        std::vector<double> weight(static_cast<std::size_t>(count)), loss(weight.size());
        std::vector<Index> label(weight.size());
        for (Index r = 0; r < count; ++r) {
            label[r] = labels[first + r];
            weight[r] = weights ? scale * weights[first + r] : scale;
            if (label[r] >= 0 && label[r] < classes) continue;
            label[r] = 0;
            for (Index seen = outside; first + r < seen && !outside.compare_exchange_weak(seen, first + r);) {
            }
        }
        T* const out = gradient ? gradient + first * classes : nullptr;
        const SoftmaxTask<T> t{
            Softmax::gradient, z + first * classes, out,         nullptr,   count, classes, 1, 1, 1.0,
            label.data(),      weight.data(),       loss.data(), past_cache};
        work(t);
        for (Index r = 0; r < count; ++r) {
            const double w = weights ? weights[first + r] : 1.0;
            if (w != 0.0)
                totals[b].add(w * loss[r]);
            else if (out)
                std::fill_n(out + r * classes, classes, T(0));
        }
    });
    Total all;
    for (const Total& t : totals) {
        all.add(t.high);
        all.add(t.low);
    }
    return {all.high + all.low, outside == rows ? -1 : outside.load()};
}

template <class T>
void sigmoid(const T* z, Index n, bool logarithm, T* out, int threads) {
    parallel_for((n + BLOCK - 1) / BLOCK, n < ALONE ? 1 : threads, [&](Index block) {
        const Index first = block * BLOCK, count = std::min(BLOCK, n - first);
        if constexpr (std::is_same_v<T, float>)
            softmax_kernels().sigmoid32(z + first, count, logarithm, out + first);
        else
            softmax_kernels().sigmoid64(z + first, count, logarithm, out + first);
    });
}

template void softmax(Softmax, const float*, Index, Index, Index, double, float*, float*, int);
template void softmax(Softmax, const double*, Index, Index, Index, double, double*, double*, int);
template CrossEntropy cross_entropy_of_logits(const float*, const Index*, const double*, double, Index, Index, float*,
                                              int);
template CrossEntropy cross_entropy_of_logits(const double*, const Index*, const double*, double, Index, Index, double*,
                                              int);
template void sigmoid(const float*, Index, bool, float*, int);
template void sigmoid(const double*, Index, bool, double*, int);

}  // namespace luce
