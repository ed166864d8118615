// Products with rows as they lie in memory: registers run along the columns, and X is read in place.
// S is what is calculated in: float sums stay within a tile. The sums of a row are taken in an order that depends on
// the number of columns alone, so that a row has the same logits wherever it stands and whatever stands beside it. Only
// included by kernels.cpp, inside its namespace.
#pragma once
#include "lanes.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROOM = 24;  // registers for sums; the other 8 hold what is multiplied
#else
constexpr int ROOM = 12;
#endif
constexpr int MOST_CLASSES = 6;  // of a block
constexpr int MOST_BESIDE = 8;   // rows or registers of columns that a block of classes is multiplied with

// How many go with so many classes: a power of two, as it must divide TILE.
constexpr int beside(int classes) {
    int n = MOST_BESIDE;
    while (n * classes > ROOM) n /= 2;
    return n;
}

// Blocks of classes that differ by one at most: a small last block would leave the multipliers waiting.
struct ClassBlocks {
    int classes, count;
    explicit ClassBlocks(int k) : classes(k), count((k + MOST_CLASSES - 1) / MOST_CLASSES) {}
    int size(int block) const { return classes / count + (block < classes % count); }
};

// GCC would rather load a number once for each product than keep it, and loads are scarcer than registers here.
template <class R>
LUCE_INLINE R kept(R v) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#endif
    return v;
}

// Makes the compiler load what nothing else needs.
template <class R>
LUCE_INLINE void read(R v) {
#if defined(__AVX512F__)
    __asm__ volatile("" : : "v"(v));
#elif defined(__x86_64__)
    __asm__ volatile("" : : "x"(v));
#elif defined(__aarch64__)
    __asm__ volatile("" : : "w"(v));
#endif
}

// acc[i][j] += a(i) * b(j), each taken from memory once; of the fewer all stay in registers while the others go by.
template <int A, int B, class R, class First, class Second>
LUCE_INLINE void multiply_add(R (*acc)[B], const First& a, const Second& b) {
    constexpr int FEW = A < B ? A : B, MANY = A < B ? B : A;
    R few[FEW];
#pragma GCC unroll 8
    for (int i = 0; i < FEW; ++i) few[i] = kept(A < B ? a(i) : b(i));
#pragma GCC unroll 8
    for (int j = 0; j < MANY; ++j) {
        const R one = kept(A < B ? b(j) : a(j));
#pragma GCC unroll 8
        for (int i = 0; i < FEW; ++i) acc[A < B ? i : j][A < B ? j : i] += few[i] * one;
    }
}

// Asks memory for the line that holds p[at]. That may lie beyond the array: nothing is read.
template <class S>
LUCE_INLINE void ask_for(const S* p, Index at) {
    const std::uintptr_t place = reinterpret_cast<std::uintptr_t>(p) + static_cast<std::uintptr_t>(at) * sizeof(S);
    __builtin_prefetch(reinterpret_cast<const void*>(place), 0, 2);
}

// body.operator()<n>() for n from 1 to MOST_CLASSES
template <int CLASSES = MOST_CLASSES, class Body>
LUCE_INLINE void with_classes(int n, const Body& body) {
    if (n == CLASSES)
        body.template operator()<CLASSES>();
    else if constexpr (CLASSES > 1)
        with_classes<CLASSES - 1>(n, body);
}

// ---------------------------------------------------------------------------------------------------------------------
// the rows of a tile

// What the registers do not cover of each row is copied, with zeros behind it: nothing is read beyond a row's end.
template <class S>
static Rows<S> rows_in_place(const View<S>& x, Index first, int count, S* tails) {
    constexpr int N = Register<typename Whole<S>::type>::LANES;
    const S* data = x.data + first * x.row_stride;
    const Index whole = x.columns / N * N, rest = x.columns - whole;
    if (rest > 0)
        for (int r = 0; r < count; ++r)
            for (int l = 0; l < N; ++l) tails[r * N + l] = l < rest ? data[r * x.row_stride + whole + l] : S{};
    return {data, x.row_stride, tails, N, x.columns, count};
}

// Columns that lie apart are copied a few at a time, while the lines of memory that they are written to stay at hand.
template <class T, class S>
static void copy_columns(const View<T>& x, const T* data, int count, Index stride, S* copy) {
    constexpr Index FEW = 16;
    for (Index j0 = 0; j0 < x.columns; j0 += FEW)
        for (Index j = j0; j < x.columns && j < j0 + FEW; ++j)
            for (int r = 0; r < count; ++r)
                copy[r * stride + j] = static_cast<S>(data[r * x.row_stride + j * x.column_stride]);
}

// Numbers of 16 bits that lie side by side, as floats.
static void widen16(const Float16* x, Index count, float* out) {
    Index j = 0;
#if defined(__F16C__)
    for (; j + 8 <= count; j += 8)
        _mm256_storeu_ps(out + j, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + j))));
#else
#pragma omp simd
    for (Index i = 0; i < count / 8 * 8; ++i) out[i] = static_cast<float>(x[i]);
    j = count / 8 * 8;
#endif
    for (; j < count; ++j) out[j] = static_cast<float>(x[j]);
}

template <class T, class S>
LUCE_INLINE void widen_row(const T* from, Index columns, S* to) {
#pragma omp simd
    for (Index j = 0; j < columns; ++j) to[j] = static_cast<S>(from[j]);
}
LUCE_INLINE void widen_row(const Float16* from, Index columns, float* to) { widen16(from, columns, to); }

template <class T, class S>
static Rows<S> copied_rows(const View<T>& x, Index first, int count, Index stride, S* copy) {
    const T* data = x.data + first * x.row_stride;
    if (x.column_stride != 1) copy_columns(x, data, count, stride, copy);
    for (int r = 0; r < count; ++r) {
        const T* from = data + r * x.row_stride;
        S* to = copy + r * stride;
        if (x.column_stride == 1) widen_row(from, x.columns, to);
        for (Index j = x.columns; j < stride; ++j) to[j] = S{};
    }
    return {copy, stride, nullptr, 0, stride, count};
}

// ---------------------------------------------------------------------------------------------------------------------
// forward

// Within each 16 bytes, where every row has runs of 2 * RUN lanes: the first half of each run of a, then of b; or the
// second halves. Their sum has runs of RUN lanes.
template <int LANES, int BYTES16, int RUN, int SECOND>
struct HalfRuns {
    static constexpr int lane(int l) {
        const int at = l % BYTES16, run = at / RUN, each = BYTES16 / (2 * RUN);
        return l - at + (run < each ? run : run - each + LANES / (2 * RUN)) * 2 * RUN + at % RUN + SECOND * RUN;
    }
};
template <int LANES, int BY>
struct Later {
    static constexpr int lane(int l) { return (l + BY) % LANES; }
};

// COUNT registers of lanes to be summed become one, whose 16 bytes hold COUNT sums, in order.
template <int BYTES16, int COUNT, int RUN = BYTES16 / 2, class R>
LUCE_INLINE R folded(R* v) {
    if constexpr (RUN == 0) {
        return v[0];
    } else {
        constexpr int LANES = Register<R>::LANES, LEFT = COUNT > 1 ? COUNT / 2 : 1;
#pragma GCC unroll 4
        for (int i = 0; i < LEFT; ++i) {
            const R a = v[COUNT > 1 ? 2 * i : 0], b = v[COUNT > 1 ? 2 * i + 1 : 0];
            v[i] = pick<HalfRuns<LANES, BYTES16, RUN, 0>>(a, b) + pick<HalfRuns<LANES, BYTES16, RUN, 1>>(a, b);
        }
        return folded<BYTES16, LEFT, RUN / 2>(v);
    }
}

// The 16 bytes of a register added up into the first.
template <int BYTES16, int BY, class R>
LUCE_INLINE R gathered(R v) {
    if constexpr (BY < BYTES16)
        return v;
    else
        return gathered<BYTES16, BY / 2>(v + pick<Later<Register<R>::LANES, BY>>(v, v));
}

// z[i] = bias + the sum of the lanes of v[i]
template <class S, int ROWS, class R>
LUCE_INLINE void store_sums(R* v, double bias, double* z) {
    constexpr int N = Register<R>::LANES, BYTES16 = 16 / sizeof(S), COUNT = ROWS < BYTES16 ? ROWS : BYTES16;
    for (int r = 0; r < ROWS; r += COUNT) {
        S sums[N];
        store(sums, gathered<BYTES16, N / 2>(folded<BYTES16, COUNT>(v + r)));
        for (int i = 0; i < COUNT; ++i) z[r + i] = bias + static_cast<double>(sums[i]);
    }
}

template <int CLASSES, int ROWS, class S, class R>
LUCE_INLINE void multiply_rows(const S* const* row, Index j, const S* weights, Index stride, R (*acc)[ROWS]) {
    multiply_add<CLASSES, ROWS>(
        acc, [&](int c) { return load(weights + c * stride + j); }, [&](int r) { return load(row[r] + j); });
}

// Beyond the last row the last one is taken again: every row goes through the same instructions. FIRST: these rows have
// not been met yet, and those a little later are asked for.
template <bool FIRST, class S, int CLASSES>
static void forward_classes(const Rows<S>& x, const S* weights, Index stride, const double* bias, double* z) {
    typedef typename Whole<S>::type R;
    constexpr int N = Register<R>::LANES, ROWS = beside(CLASSES);
    const Index whole = x.columns / N * N;
    for (int r0 = 0; r0 < x.count; r0 += ROWS) {
        const S *row[ROWS], *tail[ROWS];
        for (int i = 0; i < ROWS; ++i) {
            const Index r = r0 + i < x.count ? r0 + i : x.count - 1;
            row[i] = x.data + r * x.stride;
            tail[i] = x.tails + r * x.tail_stride;
        }
        R acc[CLASSES][ROWS] = {};
        for (Index j = 0; j < whole; j += N) {
            if (FIRST)
                for (int r = 0; r < ROWS; ++r) ask_for(row[r], MOST_BESIDE * x.stride + j);
            multiply_rows<CLASSES, ROWS>(row, j, weights, stride, acc);
        }
        if (whole < x.columns) multiply_rows<CLASSES, ROWS>(tail, 0, weights + whole, stride, acc);
#pragma GCC unroll 8
        for (int c = 0; c < CLASSES; ++c) store_sums<S, ROWS>(acc[c], bias ? bias[c] : 0.0, z + c * TILE + r0);
    }
}

// A block of weights stays in the first cache while all rows of the tile go by.
template <class S>
static void forward_rows(const Rows<S>& x, const S* weights, Index stride, const double* bias, int outputs, double* z) {
    const ClassBlocks blocks(outputs);
    for (int b = 0, k = 0; b < blocks.count; k += blocks.size(b++))
        with_classes(blocks.size(b), [&]<int CLASSES>() {
            const double* from = bias ? bias + k : nullptr;
            if (b == 0)
                forward_classes<true, S, CLASSES>(x, weights, stride, from, z);
            else
                forward_classes<false, S, CLASSES>(x, weights + k * stride, stride, from, z + k * TILE);
        });
    for (int k = 0; k < outputs; ++k)
        for (int r = x.count; r < TILE; ++r) z[k * TILE + r] = 0.0;
}

// ---------------------------------------------------------------------------------------------------------------------
// backward

LUCE_INLINE void add_to(double* sums, Vec v) { store(sums, load(sums) + v); }
LUCE_INLINE void add_to(double* sums, Floats v) {
    float lanes[2 * WIDTH];
    store(lanes, v);
    add_to(sums, widen(lanes));
    add_to(sums + WIDTH, widen(lanes + WIDTH));
}

// Rows that no forward has met are read once in the order of memory: the strips would fetch them line by line. (Asking
// for so many lines at once would not do: most would be turned down.) Short rows are a strip or two.
template <class S>
static void bring_rows(const Rows<S>& x) {
    constexpr Index N = Register<typename Whole<S>::type>::LANES, LINE = 64 / sizeof(S);
    if (x.columns <= 2 * MOST_BESIDE * N) return;
    for (int r = 0; r < x.count; ++r)
        for (Index j = 0; j + N <= x.columns; j += LINE) {
            const S* p = x.data + r * x.stride;
            ask_for(p, MOST_BESIDE * x.stride + j);
            read(load(p + j));
        }
}

// One register after the other down the rows of a tile.
template <class S>
struct Strip {
    const S* data;
    Index stride;
    int count, registers;
};

template <class S, int PLACES, int CLASSES>
static void backward_block(const Strip<S>& x, const S* residual, double* sums, Index stride) {
    typedef typename Whole<S>::type R;
    constexpr int N = Register<R>::LANES;
    R acc[CLASSES][PLACES] = {};
    const S* row = x.data;
    for (int r = 0; r < x.count; ++r, row += x.stride)
        multiply_add<CLASSES, PLACES>(
            acc, [&](int c) { return residual[c * TILE + r] - R{}; }, [&](int p) { return load(row + p * N); });
#pragma GCC unroll 8
    for (int c = 0; c < CLASSES; ++c)
#pragma GCC unroll 8
        for (int p = 0; p < PLACES; ++p) add_to(sums + c * stride + p * N, acc[c][p]);
}

template <class S, int CLASSES, int PLACES = beside(CLASSES)>
static void backward_classes(Strip<S> x, const S* residual, double* sums, Index stride) {
    constexpr int STEP = PLACES * Register<typename Whole<S>::type>::LANES;
    for (; x.registers >= PLACES; x.registers -= PLACES, x.data += STEP, sums += STEP)
        backward_block<S, PLACES, CLASSES>(x, residual, sums, stride);
    if constexpr (PLACES > 1) backward_classes<S, CLASSES, PLACES / 2>(x, residual, sums, stride);
}

// The strip stays in the first cache while all classes go by.
template <class S>
static void backward_strip(const Strip<S>& x, const S* residual, int outputs, double* sums, Index stride) {
    const ClassBlocks blocks(outputs);
    for (int b = 0, k = 0; b < blocks.count; k += blocks.size(b++))
        with_classes(blocks.size(b), [&]<int CLASSES>() {
            backward_classes<S, CLASSES>(x, residual + k * TILE, sums + k * stride, stride);
        });
}

template <class S>
static void backward_rows(const Rows<S>& x, const double* residual, int outputs, S* narrow, double* sums,
                          Index stride) {
    constexpr int N = Register<typename Whole<S>::type>::LANES;
    for (Index i = 0; i < static_cast<Index>(outputs) * TILE; ++i) narrow[i] = static_cast<S>(residual[i]);
    const Index whole = x.columns / N;
    for (Index i = 0; i < whole; i += MOST_BESIDE) {
        const int registers = static_cast<int>(whole - i < MOST_BESIDE ? whole - i : MOST_BESIDE);
        backward_strip<S>({x.data + i * N, x.stride, x.count, registers}, narrow, outputs, sums + i * N, stride);
    }
    if (whole * N < x.columns)
        backward_strip<S>({x.tails, x.tail_stride, x.count, 1}, narrow, outputs, sums + whole * N, stride);
}
