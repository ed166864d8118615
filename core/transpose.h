// Rows of numbers that follow each other in memory <-> one class a register, by permutations within registers.
// Only included by the files that are compiled once per instruction set, inside its namespace.
#pragma once
#include "lanes.h"

template <int ODD>
struct EveryOther {
    static constexpr int lane(int l) { return 2 * l + ODD; }
};

// Lanes of a and b by turns: the first half of them, or the second.
template <int LANES, int SECOND>
struct ByTurns {
    static constexpr int lane(int l) { return (l + SECOND * LANES) / 2 + l % 2 * LANES; }
};

// Class CLASS of all rows of K, once register FROM of the rows has been merged in.
template <int LANES, int K, int CLASS, int FROM>
struct OneClass {
    static constexpr int lane(int l) {
        const int at = l * K + CLASS, source = at / LANES;
        if (source == FROM) return LANES + at % LANES;
        return FROM == 1 && source == 0 ? at % LANES : l;
    }
    static constexpr bool needed() {
        for (int l = 0; l < LANES; ++l)
            if ((l * K + CLASS) / LANES == FROM) return true;
        return false;
    }
};

// Register PLACE of the rows of K, once class FROM has been merged in.
template <int LANES, int K, int PLACE, int FROM>
struct OneRegister {
    static constexpr int lane(int l) {
        const int at = PLACE * LANES + l;
        if (at % K == FROM) return LANES + at / K;
        return FROM == 1 && at % K == 0 ? at / K : l;
    }
    static constexpr bool needed() {
        for (int l = 0; l < LANES; ++l)
            if ((PLACE * LANES + l) % K == FROM) return true;
        return false;
    }
};

// Register AT of the other layout: register 0 of v with the others merged in, one by one.
template <template <int, int, int, int> class Choice, int K, int AT, int FROM = 1, class R>
LUCE_INLINE R merged(const R* v, R so_far) {
    if constexpr (FROM < K) {
        typedef Choice<Register<R>::LANES, K, AT, FROM> Now;
        if constexpr (FROM == 1 || Now::needed()) so_far = pick<Now>(so_far, v[FROM]);
        return merged<Choice, K, AT, FROM + 1>(v, so_far);
    } else {
        return so_far;
    }
}
template <template <int, int, int, int> class Choice, int K, int AT = 0, class R>
LUCE_INLINE void merge_all(const R* v, R* out) {
    if constexpr (AT < K) {
        out[AT] = merged<Choice, K, AT>(v, v[0]);
        merge_all<Choice, K, AT + 1>(v, out);
    }
}

// K registers that hold as many rows of K as a register has lanes: v[k] becomes class k of all these rows. An even
// number of classes is split into the even and the odd ones.
template <int K, class R>
LUCE_INLINE void rows_to_classes(R* v) {
    if constexpr (K % 2 == 0) {
        R even[K / 2], odd[K / 2];
#pragma GCC unroll 16
        for (int i = 0; i < K / 2; ++i) {
            even[i] = pick<EveryOther<0>>(v[2 * i], v[2 * i + 1]);
            odd[i] = pick<EveryOther<1>>(v[2 * i], v[2 * i + 1]);
        }
        rows_to_classes<K / 2>(even);
        rows_to_classes<K / 2>(odd);
#pragma GCC unroll 16
        for (int i = 0; i < K / 2; ++i) {
            v[2 * i] = even[i];
            v[2 * i + 1] = odd[i];
        }
    } else if constexpr (K > 1) {
        R out[K];
        merge_all<OneClass, K>(v, out);
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) v[k] = out[k];
    }
}

template <int K, class R>
LUCE_INLINE void classes_to_rows(R* v) {
    if constexpr (K % 2 == 0) {
        constexpr int LANES = Register<R>::LANES;
        R even[K / 2], odd[K / 2];
#pragma GCC unroll 16
        for (int i = 0; i < K / 2; ++i) {
            even[i] = v[2 * i];
            odd[i] = v[2 * i + 1];
        }
        classes_to_rows<K / 2>(even);
        classes_to_rows<K / 2>(odd);
#pragma GCC unroll 16
        for (int i = 0; i < K / 2; ++i) {
            v[2 * i] = pick<ByTurns<LANES, 0>>(even[i], odd[i]);
            v[2 * i + 1] = pick<ByTurns<LANES, 1>>(even[i], odd[i]);
        }
    } else if constexpr (K > 1) {
        R out[K];
        merge_all<OneRegister, K>(v, out);
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) v[k] = out[k];
    }
}
