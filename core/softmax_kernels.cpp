// Softmax, log-softmax, logsumexp and the gradient of the cross-entropy for many rows. Compiled once per instruction
// set (see kernels.cpp on std templates).
//
// Up to MOST_TURNED classes are worked class by class, a row in each lane: rows that follow each other in memory are
// turned within registers first. A block of rows goes through a few short passes, which keeps the processor's window
// full of work that does not wait. Longer rows are worked along the row. The order of every sum is a function of the
// number of classes alone: the bits do not depend on the way. docs/numerics.md has the error bounds and why they hold.
#include "softmax_kernels.h"

#include <cstdint>
#include <type_traits>

#include "intrinsics.h"

namespace luce {
namespace LUCE_ISA {

namespace {

#include "softmax_math.h"
#include "stream.h"
#include "transpose.h"

constexpr Index MOST_TURNED = 128;  // classes of rows that are turned into columns
constexpr Index NUMBERS = 2048;     // of a block of rows: it stays in the first cache with all that is made of it
constexpr int MOST_ROWS = 256;      // of a block
constexpr int MOST_LINES = MOST_ROWS / WIDTH;
constexpr int STEP = 16;              // rows are padded to a multiple of this
constexpr Index MOST_KEPT = 1 << 18;  // numbers of a block: the exponentials of more are made twice, not kept

// ---------------------------------------------------------------------------------------------------------------------
// rows that the fast ways decline

// Their results, worked number by number before results can lie on the logits, and written when the others are.
template <class T>
class Declined {
public:
    explicit Declined(const SoftmaxTask<T>& t) : t_(t) {}
    Declined(const Declined&) = delete;
    ~Declined() { delete[] values_; }

    // lane l of the mask is row first + l
    __attribute__((always_inline)) void rows(IntVec mask, Index first) {
        if (__builtin_expect(any(mask), false))
            for (int l = 0; l < WIDTH; ++l)
                if (mask[l]) row(first + l);
    }
    __attribute__((noinline)) void row(Index r) {
        if (values_ == nullptr) values_ = new double[(t_.rows + 1) * t_.classes];
        rows_[count_] = static_cast<int>(r);
        double* row = values_ + count_ * t_.classes;
        for (Index k = 0; k < t_.classes; ++k) row[k] = static_cast<double>(t_.z[at(r, k, t_.class_stride)]);
        if (t_.kind == Softmax::gradient)
            t_.loss[r] = gradient_alone(row, values_ + t_.rows * t_.classes, t_.classes, t_.labels[r], t_.weights[r]);
        else
            totals_[count_] = row_alone(t_.kind, row, t_.classes, t_.temperature);
        ++count_;
    }
    void write() const {
        if (__builtin_expect(count_ == 0, true)) return;
        for (int i = 0; i < count_; ++i) {
            if (t_.kind == Softmax::total) t_.total[rows_[i]] = static_cast<T>(totals_[i]);
            for (Index k = 0; t_.out != nullptr && k < t_.classes; ++k)
                t_.out[at(rows_[i], k, t_.out_stride)] = static_cast<T>(values_[i * t_.classes + k]);
        }
    }

private:
    Index at(Index row, Index k, Index stride) const { return stride == 1 ? row * t_.classes + k : row + k * stride; }
    const SoftmaxTask<T>& t_;
    int rows_[MOST_ROWS], count_ = 0;
    double totals_[MOST_ROWS], *values_ = nullptr;
};

// ---------------------------------------------------------------------------------------------------------------------
// class by class, a row in each lane: a line is WIDTH rows. t.rows is a multiple of STEP and at most MOST_ROWS.

template <class T>
LUCE_INLINE void tops(const SoftmaxTask<T>& t, Vec* top) {
    typedef typename Whole<T>::type R;
    constexpr int LANES = Register<R>::LANES;
    for (Index r = 0; r < t.rows; r += LANES) {
        R most[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) most[j] = load(t.z + r);
        Index k = 1;
        for (; k + 4 <= t.classes; k += 4)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) most[j] = larger(load(t.z + (k + j) * t.class_stride + r), most[j]);
        for (; k < t.classes; ++k) most[0] = larger(load(t.z + k * t.class_stride + r), most[0]);
        T each[LANES];
        store(each, larger(larger(most[0], most[1]), larger(most[2], most[3])));
        for (int l = 0; l < LANES; l += WIDTH) top[(r + l) / WIDTH] = widen(each + l);
    }
}

// body(k, v) for all registers
template <class Body>
LUCE_INLINE void over_columns(Index classes, int lines, const Body& body) {
    for (Index k = 0; k < classes; ++k)
#pragma GCC unroll 4
        for (int v = 0; v < lines; ++v) body(k, v);
}

template <class T, bool GRADIENT, bool WARM>
static void column_probabilities(const SoftmaxTask<T>& t, const Meanwhile<T>& meanwhile, double* scratch) {
    const int lines = static_cast<int>(t.rows) / WIDTH;
    const T* const z = t.z;
    T* const out = t.out;
    const Index classes = t.classes, stride = t.class_stride, out_stride = t.out_stride;
    const bool kept = scratch != nullptr;
    const double temperature = WARM ? t.temperature : 1.0;
    Vec top[MOST_LINES];
    tops(t, top);
    IntVec tiny[MOST_LINES];
    for (int v = 0; v < lines; ++v) tiny[v] = IntVec{};
    const auto make = [&](Index k, int v) __attribute__((always_inline)) {
        Vec low;
        const Vec d = below<T>(widen(z + k * stride + v * WIDTH), top[v], temperature, low);
        return exponential<T>(d, low, tiny[v]);
    };
    if (kept)
        over_columns(classes, lines, [&](Index k, int v) __attribute__((always_inline)) {
            meanwhile.at(k * lines + v);
            store(scratch + (k * lines + v) * WIDTH, make(k, v));
        });
    const auto get = [&](Index k, int v) __attribute__((always_inline)) {
        return kept ? load(scratch + (k * lines + v) * WIDTH) : make(k, v);
    };

    Declined<T> declined(t);
    Term<T> inverse[MOST_LINES];
    IntVec label[MOST_LINES];
    Vec at_label[MOST_LINES], weight[MOST_LINES];  // others = all exponentials but the label's
    if (GRADIENT)
        for (int v = 0; v < lines; ++v) {
            __builtin_memcpy(&label[v], t.labels + v * WIDTH, sizeof label[v]);
            weight[v] = load(t.weights + v * WIDTH);
        }
    sum_lines(
        classes, lines,
        [&](Index k, int v) __attribute__((always_inline)) {
            const Vec e = get(k, v);
            return term<T>(GRADIENT ? (label[v] == k ? Vec{} : e) : e);
        },
        [&](int v, Term<T> sum) __attribute__((always_inline)) {
            if constexpr (GRADIENT) {
                Vec chosen, low;
                for (int l = 0; l < WIDTH; ++l)
                    chosen[l] = static_cast<double>(z[t.labels[v * WIDTH + l] * stride + v * WIDTH + l]);
                const Vec d = below<T>(chosen, top[v], 1.0, low);
                IntVec ignored = {};
                const Vec e = exponential<T>(d, low, ignored);
                store(t.loss + v * WIDTH, loss_of<T>(sum, d, low, e));
                at_label[v] = -(high_of(sum) + low_of(sum));
                sum = Add()(sum, term<T>(e));
            }
            inverse[v] = inverse_of<T>(sum);
            declined.rows(tiny[v] | ~(high_of(sum) >= 1.0), v * WIDTH);
        });
    if (out != nullptr)
        over_columns(classes, lines, [&](Index k, int v) __attribute__((always_inline)) {
            const Vec e = get(k, v);
            if constexpr (GRADIENT)
                narrow(out + k * out_stride + v * WIDTH,
                       times<T>(label[v] == k ? at_label[v] : e, inverse[v]) * weight[v]);
            else
                narrow(out + k * out_stride + v * WIDTH, times<T>(e, inverse[v]));
        });
    declined.write();
}

// Logarithms by the top logit m: (z - m) - ln(1 + rest), rest the sum of exp(z - m) over all but one top logit.
template <class T, bool WARM>
static void column_logarithms(const SoftmaxTask<T>& t, const Meanwhile<T>& meanwhile, double* scratch) {
    const int lines = static_cast<int>(t.rows) / WIDTH;
    const T* const z = t.z;
    T* const out = t.out;
    const Index classes = t.classes, stride = t.class_stride, out_stride = t.out_stride;
    const double temperature = WARM ? t.temperature : 1.0;
    Vec top[MOST_LINES], ties[MOST_LINES];
    tops(t, top);
    for (int v = 0; v < lines; ++v) ties[v] = Vec{} - 1.0;
    const auto make = [&](Index k, int v) __attribute__((always_inline)) {
        Vec low;
        const Vec x = widen(z + k * stride + v * WIDTH), d = below<T>(x, top[v], temperature, low);
        const IntVec at_top = x == top[v];
        ties[v] += at_top ? Vec{} + 1.0 : Vec{};
        return below_top<T>(at_top, d, low);
    };
    const bool kept = scratch != nullptr;
    double* const lost = scratch + t.rows * classes;
    if (kept)
        over_columns(classes, lines, [&](Index k, int v) __attribute__((always_inline)) {
            meanwhile.at(k * lines + v);
            const Term<T> e = make(k, v);
            store(scratch + (k * lines + v) * WIDTH, high_of(e));
            if (is_double<T>) store(lost + (k * lines + v) * WIDTH, low_of(e));
        });
    Declined<T> declined(t);
    Sum log_sum[MOST_LINES];
    sum_lines(
        classes, lines,
        [&](Index k, int v) __attribute__((always_inline)) {
            if (!kept) return make(k, v);
            const Index place = (k * lines + v) * WIDTH;
            return term<T>(load(scratch + place), is_double<T> ? load(lost + place) : Vec{});
        },
        [&](int v, Term<T> sum) __attribute__((always_inline)) {
            log_sum[v] = log_of_sum(sum, ties[v]);
            const Vec total = plus(top[v], log_sum[v]);
            if (t.kind == Softmax::total) narrow(t.total + v * WIDTH, total);
            declined.rows(~(total - total == 0.0), v * WIDTH);
        });
    if (t.kind == Softmax::logarithms)
        over_columns(classes, lines, [&](Index k, int v) __attribute__((always_inline)) {
            Vec low;
            const Vec x = widen(z + k * stride + v * WIDTH), d = below<T>(x, top[v], temperature, low);
            narrow(out + k * out_stride + v * WIDTH, (d - log_sum[v].high) + (low - log_sum[v].low));
        });
    declined.write();
}

template <class T>
static void columns(const SoftmaxTask<T>& t, const Meanwhile<T>& meanwhile, double* scratch) {
    if (t.kind == Softmax::gradient) return column_probabilities<T, true, false>(t, meanwhile, scratch);
    const bool warm = t.temperature != 1.0;
    if (t.kind == Softmax::probabilities)
        return warm ? column_probabilities<T, false, true>(t, meanwhile, scratch)
                    : column_probabilities<T, false, false>(t, meanwhile, scratch);
    warm ? column_logarithms<T, true>(t, meanwhile, scratch) : column_logarithms<T, false>(t, meanwhile, scratch);
}

// ---------------------------------------------------------------------------------------------------------------------
// blocks of rows as columns

// Full tiles of rows as long as a register, `classes` of them, to columns `stride` apart.
template <int K, bool BACK, class T>
LUCE_INLINE void turn_tile(T* rows, Index row_stride, T* columns, Index stride) {
    typedef typename Whole<T>::type R;
    R v[K];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) v[i] = load(BACK ? columns + i * stride : rows + i * row_stride);
    if constexpr (BACK)
        classes_to_rows<K>(v);
    else
        rows_to_classes<K>(v);
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) store(BACK ? rows + i * row_stride : columns + i * stride, v[i]);
}

// count rows (a multiple of the lanes) of K numbers, one after the other, to columns or BACK.
template <bool BACK, class T, int K = 2>
static void turn(T* rows, Index classes, Index count, T* columns, Index stride) {
    constexpr int LANES = Register<typename Whole<T>::type>::LANES;
    if constexpr (K < 16) {
        if (classes != K) return turn<BACK, T, K + 1>(rows, classes, count, columns, stride);
        for (Index r = 0; r < count; r += LANES) turn_tile<K, BACK>(rows + r * K, LANES, columns + r, stride);
    } else {
        // the last tile may lie over the one before
        for (Index r = 0; r < count; r += LANES)
            for (Index k = 0; k < classes; k += LANES) {
                const Index first = k + LANES <= classes ? k : classes - LANES;
                turn_tile<LANES, BACK>(rows + r * classes + first, classes, columns + first * stride + r, stride);
            }
    }
}

static Index padded(Index rows) { return (rows + STEP - 1) / STEP * STEP; }

// How many rows are worked at a time: a multiple of STEP, or one along a row. Where the rows do not follow each other
// they share the cache lines that they are read from.
static Index block_of(Index classes, bool side_by_side) {
    if (side_by_side && classes > MOST_TURNED) return 1;
    const Index rows = NUMBERS / classes / STEP * STEP, least = side_by_side ? STEP : 4 * STEP;
    return rows < least ? least : rows > MOST_ROWS ? MOST_ROWS : rows;
}
static Index block_rows(Index classes) { return block_of(classes, true); }

// Some rows by way of columns of their own: turned, or copied if they are no whole number of registers.
template <class T>
static void by_columns(const SoftmaxTask<T>& t, const Meanwhile<T>& meanwhile, T* room, double* scratch) {
    const Index rows = t.rows, full = rows / STEP * STEP, stride = padded(rows);
    const bool turned = t.class_stride == 1;
    const T* const z = t.z;
    T* const out = t.out;
    T totals[MOST_ROWS], *const total = t.total;
    double loss[MOST_ROWS], *const losses = t.loss, weights[MOST_ROWS];
    Index labels[MOST_ROWS];
    const Index end = turned ? full : 0;  // the rows from here on are copied number by number
    if (turned) turn<false>(const_cast<T*>(z), t.classes, full, room, stride);
    const Index out_stride = t.out_stride;
    const auto at = [&](Index r, Index k, Index s) { return turned ? r * t.classes + k : r + k * s; };
    for (Index k = 0; k < t.classes; ++k)
        for (Index r = end; r < stride; ++r) room[k * stride + r] = r < rows ? z[at(r, k, t.class_stride)] : T(0);
    if (t.kind == Softmax::gradient)
        for (Index r = 0; r < stride; ++r) {
            labels[r] = r < rows ? t.labels[r] : 0;
            weights[r] = r < rows ? t.weights[r] : 0.0;
        }
    SoftmaxTask<T> c = t;
    c.z = room;
    c.out = out ? room : nullptr;
    c.total = totals;
    c.loss = loss;
    c.labels = labels;
    c.weights = weights;
    c.rows = c.class_stride = c.out_stride = stride;
    columns(c, meanwhile, scratch);
    if (t.kind == Softmax::total) {
        for (Index r = 0; r < rows; ++r) total[r] = totals[r];
        return;
    }
    if (t.kind == Softmax::gradient)
        for (Index r = 0; r < rows; ++r) losses[r] = loss[r];
    if (out == nullptr) return;
    if (turned) turn<true>(out, t.classes, full, room, stride);
    for (Index k = 0; k < t.classes; ++k)
        for (Index r = end; r < rows; ++r) out[at(r, k, out_stride)] = room[k * stride + r];
}

template <class T>
class Room {
public:
    explicit Room(Index n) : numbers(n > 0 ? new T[n] : nullptr) {}
    Room(const Room&) = delete;
    ~Room() { delete[] numbers; }
    T* const numbers;
};

template <class T>
static void blocks_of_columns(const SoftmaxTask<T>& t) {
    constexpr Index HERE = NUMBERS;  // numbers that find room on the stack
    const bool side_by_side = t.class_stride == 1;
    const Index most = block_of(t.classes, side_by_side), kept = most * t.classes <= MOST_KEPT ? most * t.classes : 0;
    const bool small = most * t.classes <= HERE, staged = t.past_cache && small;
    alignas(64) T own_room[HERE], stages[2][HERE];
    alignas(64) double own_scratch[(is_double<T> ? 2 : 1) * HERE];
    const Room<T> room(small ? 0 : most * t.classes);
    const Room<double> scratch(small ? 0 : (is_double<T> ? 2 : 1) * kept);
    double* const e = small ? own_scratch : scratch.numbers;
    SoftmaxTask<T> part = t;
    Meanwhile<T> meanwhile{};
    for (Index r = 0, block = 0; r < t.rows; r += most, ++block) {
        const Index at = side_by_side ? r * t.classes : r;
        part.rows = t.rows - r < most ? t.rows - r : most;
        part.z = t.z + at;
        if (t.out) part.out = staged ? stages[block % 2] : t.out + at;
        if (staged && !side_by_side) part.out_stride = part.rows;
        if (t.total) part.total = t.total + r;
        if (t.kind == Softmax::gradient) {
            part.labels = t.labels + r;
            part.weights = t.weights + r;
            part.loss = t.loss + r;
        }
        meanwhile.next = part.z + most * t.classes;
        if (!side_by_side && part.rows % STEP == 0)
            columns(part, meanwhile, e);
        else
            by_columns(part, meanwhile, small ? own_room : room.numbers, e);
        if (!staged) continue;
        if (!side_by_side) {
            for (Index k = 0; k < t.classes; ++k)
                Stream(t.out + at + k * t.out_stride, part.out + k * part.rows, part.rows * sizeof(T)).from_line(0);
            continue;
        }
        meanwhile.results.from_line(part.rows * t.classes / WIDTH);  // a last, smaller block has not come to all lines
        meanwhile.results = Stream(t.out + at, part.out, part.rows * t.classes * static_cast<Index>(sizeof(T)));
    }
    meanwhile.results.from_line(0);
}

// ---------------------------------------------------------------------------------------------------------------------
// along a row of at least PARTIALS numbers, WIDTH of them at a time

// Lane l of the result is the lane that lies APART away, back and forth.
template <int APART>
struct Across {
    static constexpr int lane(int l) { return l ^ APART; }
};

// The sum of all lanes, in each of them.
template <int APART = WIDTH / 2>
LUCE_INLINE Vec fold_lanes(Vec v) {
    if constexpr (APART == 0)
        return v;
    else
        return fold_lanes<APART / 2>(Add()(v, pick<Across<APART>>(v, v)));
}
template <int APART = WIDTH / 2>
LUCE_INLINE Sum fold_lanes(Sum v) {
    if constexpr (APART == 0)
        return v;
    else
        return fold_lanes<APART / 2>(
            Add()(v, Sum{pick<Across<APART>>(v.high, v.high), pick<Across<APART>>(v.low, v.low)}));
}

template <int... L>
LUCE_INLINE IntVec lane_numbers(Lanes<L...>) {
    return IntVec{L...};
}
LUCE_INLINE IntVec lane_numbers() { return lane_numbers(typename CountUp<WIDTH>::type()); }

template <class T>
struct Row {
    static constexpr int SETS = PARTIALS / WIDTH;
    const T* z;
    T* out;
    Index classes, whole;  // numbers in whole registers
    T last[WIDTH];         // the others, followed by -inf

    explicit Row(const SoftmaxTask<T>& t) : z(t.z), out(t.out), classes(t.classes), whole(t.classes / WIDTH * WIDTH) {
        for (int l = 0; l < WIDTH; ++l) last[l] = whole + l < classes ? z[whole + l] : -static_cast<T>(__builtin_inf());
    }
    Vec read(Index k) const { return widen(k < whole ? z + k : last); }
    void write(Index k, Vec v) const {
        if (__builtin_expect(k < whole, true)) return narrow(out + k, v);
        T results[WIDTH];
        narrow(results, v);
        for (Index l = 0; k + l < classes; ++l) out[k + l] = results[l];
    }
    Vec top() const {
        typedef typename Whole<T>::type R;
        constexpr Index LANES = Register<R>::LANES;
        R most[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) most[j] = load(z);
        Index k = 0;
        for (; k + 4 * LANES <= classes; k += 4 * LANES)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) most[j] = larger(load(z + k + j * LANES), most[j]);
        for (; k < classes; k += LANES)
            most[0] = larger(load(z + (k + LANES <= classes ? k : classes - LANES)), most[0]);
        T each[LANES], all = -static_cast<T>(__builtin_inf());
        store(each, larger(larger(most[0], most[1]), larger(most[2], most[3])));
        for (Index l = 0; l < LANES; ++l) all = each[l] > all ? each[l] : all;
        return broadcast(static_cast<double>(all));
    }
    // The sum of get(k) over all registers, k the place of the first number in each.
    template <class E, class Get>
    static __attribute__((always_inline)) inline E sum(const Row& x, const Get& get) {
        E sets[SETS] = {};
        Index k = 0;
        for (; k + PARTIALS <= x.whole; k += PARTIALS)
#pragma GCC unroll 16
            for (int j = 0; j < SETS; ++j) sets[j] = Add()(sets[j], get(k + j * WIDTH));
#pragma GCC unroll 16
        for (int j = 0; j < SETS; ++j)
            if (k + j * WIDTH < x.classes) sets[j] = Add()(sets[j], get(k + j * WIDTH));
        return fold_lanes(fold<SETS>(sets));
    }
};

template <class T, bool GRADIENT>
static void row_probabilities(const SoftmaxTask<T>& t, const Meanwhile<T>& meanwhile, double* scratch) {
    const Row<T> x(t);
    const Vec top = x.top();
    IntVec tiny = {};
    const auto make = [&](Index k) __attribute__((always_inline)) {
        Vec low;
        const Vec d = below<T>(x.read(k), top, t.temperature, low);
        return exponential<T>(d, low, tiny);
    };
    const IntVec label = GRADIENT ? t.labels[0] - lane_numbers() : IntVec{};  // the label is in lane l if label[l] == k
    auto sum = Row<T>::template sum<Term<T>>(x, [&](Index k) __attribute__((always_inline)) {
        meanwhile.at(k / WIDTH);
        Vec e = make(k);
        if (scratch) store(scratch + k, e);
        if (k >= x.whole) e = lane_numbers() < x.classes - k ? e : Vec{};
        return term<T>(GRADIENT ? (label == k ? Vec{} : e) : e);
    });
    Vec at_label;
    if constexpr (GRADIENT) {
        Vec low;
        const Vec d = below<T>(broadcast(static_cast<double>(x.z[t.labels[0]])), top, 1.0, low);
        IntVec ignored = {};
        const Vec e = exponential<T>(d, low, ignored);
        t.loss[0] = loss_of<T>(sum, d, low, e)[0];
        at_label = -(high_of(sum) + low_of(sum));
        sum = Add()(sum, term<T>(e));
    }
    const Term<T> inverse = inverse_of<T>(sum);
    Declined<T> declined(t);
    if (any(tiny | ~(high_of(sum) >= 1.0))) declined.row(0);
    for (Index k = 0; t.out != nullptr && k < x.classes; k += WIDTH) {
        const Vec e = scratch ? load(scratch + k) : make(k);
        if constexpr (GRADIENT)
            x.write(k, times<T>(label == k ? at_label : e, inverse) * t.weights[0]);
        else
            x.write(k, times<T>(e, inverse));
    }
    declined.write();
}

template <class T>
static void row_logarithms(const SoftmaxTask<T>& t, const Meanwhile<T>& meanwhile) {
    const Row<T> x(t);
    const Vec top = x.top();
    Vec ties = {};
    const auto sum = Row<T>::template sum<Term<T>>(x, [&](Index k) __attribute__((always_inline)) {
        meanwhile.at(k / WIDTH);
        Vec low;
        const Vec z = x.read(k), d = below<T>(z, top, t.temperature, low);
        const IntVec at_top = z == top;
        ties += at_top ? Vec{} + 1.0 : Vec{};
        return below_top<T>(at_top, d, low);  // beyond the end of the row z is -inf, which adds 0
    });
    const Sum log_sum = log_of_sum(sum, fold_lanes(ties) - 1.0);
    const Vec total = plus(top, log_sum);
    if (t.kind == Softmax::total) t.total[0] = static_cast<T>(total[0]);
    Declined<T> declined(t);
    if (any(~(total - total == 0.0))) declined.row(0);
    for (Index k = 0; t.kind == Softmax::logarithms && k < x.classes; k += WIDTH) {
        Vec low;
        const Vec d = below<T>(x.read(k), top, t.temperature, low);
        x.write(k, (d - log_sum.high) + (low - log_sum.low));
    }
    declined.write();
}

template <class T>
static void rows_along(const SoftmaxTask<T>& t) {
    const bool probabilities = t.kind == Softmax::probabilities || t.kind == Softmax::gradient;
    const Room<double> scratch(probabilities && t.classes <= MOST_KEPT ? t.classes + WIDTH : 0);
    const Room<T> stages(t.past_cache ? 2 * t.classes : 0);
    Meanwhile<T> meanwhile{};
    SoftmaxTask<T> row = t;
    row.rows = 1;
    for (Index r = 0; r < t.rows; ++r) {
        row.z = t.z + r * t.classes;
        if (t.out) row.out = t.past_cache ? stages.numbers + r % 2 * t.classes : t.out + r * t.classes;
        meanwhile.next = row.z + t.classes;
        if (t.total) row.total = t.total + r;
        if (t.kind == Softmax::gradient) {
            row.labels = t.labels + r;
            row.weights = t.weights + r;
            row.loss = t.loss + r;
            row_probabilities<T, true>(row, meanwhile, scratch.numbers);
        } else if (probabilities) {
            row_probabilities<T, false>(row, meanwhile, scratch.numbers);
        } else {
            row_logarithms<T>(row, meanwhile);
        }
        if (t.past_cache)
            meanwhile.results = Stream(t.out + r * t.classes, row.out, t.classes * static_cast<Index>(sizeof(T)));
    }
    meanwhile.results.from_line(0);
}

// ---------------------------------------------------------------------------------------------------------------------

// The one class there is has probability 1.
template <class T>
static void one_class(const SoftmaxTask<T>& t) {
    for (Index r = 0; r < t.rows; ++r) {
        double z = static_cast<double>(t.z[r]), room;
        if (t.kind == Softmax::gradient) {
            t.loss[r] = gradient_alone(&z, &room, 1, t.labels[r], t.weights[r]);
            if (t.out) t.out[r] = static_cast<T>(z);
            continue;
        }
        const double total = row_alone(t.kind, &z, 1, t.temperature);
        if (t.kind == Softmax::total)
            t.total[r] = static_cast<T>(total);
        else
            t.out[r] = static_cast<T>(z);
    }
}

template <class T>
static void rows_of(const SoftmaxTask<T>& t) {
    if (t.classes == 1) return one_class(t);
    t.class_stride == 1 && t.classes > MOST_TURNED ? rows_along(t) : blocks_of_columns(t);
#if defined(__SSE2__)
    if (t.past_cache) _mm_sfence();  // who waits for this task shall see what went past the cache
#endif
}

// ---------------------------------------------------------------------------------------------------------------------
// number by number

// One exp(-|z|) gives both tails: 1 / (1 + e) for z >= 0, e / (1 + e) below; the logarithm is min(z, 0) - ln(1 + e).
template <class T>
LUCE_INLINE Vec sigmoid_of(Vec z, bool logarithm) {
    const Vec x = at_least(z < 0.0 ? z : -z, Vec{} - (sizeof(T) == 8 ? REACH : 400.0));
    Vec e;
    if constexpr (sizeof(T) == 8) {
        Vec power;
        e = exp_parts(x, Vec{}, power);
        e = times_power(e, power);
    } else {
        e = exp_single(x);
    }
    if (logarithm) return (z < 0.0 ? z : z * 0.0) - (sizeof(T) == 8 ? log1p_lane(e) : log1p_single(e));
    const Vec total = 1.0 + e, inverse = 1.0 / total;
    if constexpr (sizeof(T) == 4) return (z < 0.0 ? e : Vec{} + 1.0) * inverse;
    const Vec inverse_low = inverse * rest_of_inverse(inverse, total, e - (total - 1.0));
    const Vec q = e * inverse;
    return z < 0.0 ? q + (product_rest(e, inverse, q) + e * inverse_low) : inverse + inverse_low;
}

template <class T>
static void sigmoid(const T* z, Index n, bool logarithm, T* out) {
    Index i = 0;
    for (; i + WIDTH <= n; i += WIDTH) narrow(out + i, sigmoid_of<T>(widen(z + i), logarithm));
    if (i == n) return;
    T last[WIDTH] = {};
    __builtin_memcpy(last, z + i, (n - i) * sizeof(T));
    narrow(last, sigmoid_of<T>(widen(last), logarithm));
    __builtin_memcpy(out + i, last, (n - i) * sizeof(T));
}

// ---------------------------------------------------------------------------------------------------------------------

// 16-bit floats: a bfloat16 is the upper half of a float32

static void widen_half(Half type, const std::uint16_t* z, Index n, float* out) {
    Index i = 0;
    if (type == Half::bfloat16) {
#pragma omp simd
        for (i = 0; i < n; ++i) {
            const std::uint32_t bits = std::uint32_t{z[i]} << 16;
            __builtin_memcpy(out + i, &bits, sizeof bits);
        }
        return;
    }
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(z + i))));
#endif
    for (; i < n; ++i) {
        _Float16 half;
        __builtin_memcpy(&half, z + i, sizeof half);
        out[i] = static_cast<float>(half);
    }
}

static void narrow_half(Half type, const float* z, Index n, std::uint16_t* out) {
    Index i = 0;
    if (type == Half::bfloat16) {
#pragma omp simd
        for (i = 0; i < n; ++i) {
            std::uint32_t bits;
            __builtin_memcpy(&bits, z + i, sizeof bits);
            const std::uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
            out[i] = static_cast<std::uint16_t>((z[i] == z[i] ? rounded : bits | 0x400000) >> 16);
        }
        return;
    }
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(z + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; ++i) {
        const _Float16 half = static_cast<_Float16>(z[i]);
        __builtin_memcpy(out + i, &half, sizeof half);
    }
}

}  // namespace

extern const SoftmaxKernels softmax_table;
const SoftmaxKernels softmax_table = {rows_of<float>, rows_of<double>, sigmoid<float>, sigmoid<double>,
                                      widen_half,     narrow_half,     block_rows};

}  // namespace LUCE_ISA
}  // namespace luce
