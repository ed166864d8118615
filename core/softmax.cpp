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

// Sums of numbers side by side, each with what it has lost (Knuth's two-sum); number i goes to sum i % SUMS.
struct Total {
    static constexpr Index SUMS = 8;
    double high[SUMS] = {}, low[SUMS] = {};
    void add(const double* x) {
        for (Index j = 0; j < SUMS; ++j) {
            const double s = high[j] + x[j], t = s - high[j];
            low[j] += (high[j] - (s - t)) + (x[j] - t);
            high[j] = s;
        }
    }
    // One number for all; infinite if a sum is, where what was lost means nothing.
    double value() const {
        double all = 0.0, lost = 0.0, plain = 0.0;
        for (Index j = 0; j < SUMS; ++j) {
            const double s = all + high[j], t = s - all;
            lost += ((all - (s - t)) + (high[j] - t)) + low[j];
            all = s;
            plain += high[j];
        }
        return std::isfinite(all) ? all + lost : plain;
    }
};

void note_first_outside(const Index* labels, Index first, Index count, Index classes, std::atomic<Index>& outside) {
    for (Index r = first; r < first + count; ++r) {
        if (labels[r] >= 0 && labels[r] < classes) continue;
        for (Index seen = outside; r < seen && !outside.compare_exchange_weak(seen, r);) {
        }
        return;
    }
}

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
        const Index whole = (count + Total::SUMS - 1) / Total::SUMS * Total::SUMS;
        const std::unique_ptr<double[]> weight(new double[count]), loss(new double[whole]);
        std::fill_n(weight.get(), count, scale);
        for (Index r = 0; weights && r < count; ++r) weight[r] *= weights[first + r];
        bool sound = true;
        for (Index r = 0; r < count; ++r)
            sound &= static_cast<std::uint64_t>(labels[first + r]) < static_cast<std::uint64_t>(classes);
        if (!sound) return note_first_outside(labels, first, count, classes, outside);
        T* const out = gradient ? gradient + first * classes : nullptr;
        const SoftmaxTask<T> t{Softmax::gradient, z + first * classes, out,        nullptr,   count, classes, 1, 1, 1.0,
                               labels + first,    weight.get(),        loss.get(), past_cache};
        work(t);
        std::fill(loss.get() + count, loss.get() + whole, 0.0);
        for (Index r = 0; weights && r < count; ++r) {
            const double w = weights[first + r];
            loss[r] = w != 0.0 ? w * loss[r] : 0.0;
            if (w == 0.0 && out) std::fill_n(out + r * classes, classes, T(0));
        }
        for (Index r = 0; r < whole; r += Total::SUMS) totals[b].add(loss.get() + r);
    });
    Total all;
    for (Total& t : totals) {
        all.add(t.high);
        for (double& lost : t.low)
            if (!std::isfinite(lost)) lost = 0.0;  // the sum itself is infinite or NaN
        all.add(t.low);
    }
    return {all.value(), outside == rows ? -1 : outside.load()};
}

void softmax_half(Softmax kind, Half type, const std::uint16_t* z, Index rows, Index classes, double temperature,
                  std::uint16_t* out, int threads) {
    const Index each = rows_a_task(classes), block = softmax_kernels().block_rows(classes);
    parallel_for((rows + each - 1) / each, rows * classes < ALONE ? 1 : threads, [&](Index task) {
        const std::unique_ptr<float[]> room(new float[block * classes]);
        SoftmaxTask<float> t{kind, room.get(),  room.get(), nullptr, 0,       classes, 1,
                             1,    temperature, nullptr,    nullptr, nullptr, false};
        const Index end = std::min(rows, (task + 1) * each);
        for (Index r = task * each; r < end; r += block) {
            t.rows = std::min(block, end - r);
            softmax_kernels().widen_half(type, z + r * classes, t.rows * classes, room.get());
            work(t);
            softmax_kernels().narrow_half(type, room.get(), t.rows * classes, out + r * classes);
        }
    });
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
