// Borrowed arrays: a dense table with any strides, and sparse rows. They never own memory.
#pragma once
#include <cstdint>
#include <cstring>

namespace luce {

using Index = std::int64_t;

#if defined(__GNUC__)
#define LUCE_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define LUCE_ALWAYS_INLINE inline
#endif

// A number of IEEE 754 binary16 as it is stored. Every one is a float; no step meets a subnormal float, which the
// passes would take for 0.
struct Float16 {
    std::uint16_t bits;

    LUCE_ALWAYS_INLINE operator float() const {
        const std::uint32_t size = bits & 0x7fffu, sign = (bits & 0x8000u) << 16;
        const float tiny = static_cast<float>(static_cast<std::int32_t>(size)) * 0x1p-24f;  // size < 2^10: subnormal
        std::uint32_t small;
        std::memcpy(&small, &tiny, sizeof small);
        const std::uint32_t large = (size << 13) + (size < 0x7c00u ? 112u << 23 : 224u << 23);  // infinite, NaN
        const std::uint32_t whole = (size < 0x400u ? small : large) | sign;
        float value;
        std::memcpy(&value, &whole, sizeof value);
        return value;
    }
};

// rows x columns; element (i, j) lies at data[i * row_stride + j * column_stride] (strides in elements).
template <class T>
struct View {
    const T* data = nullptr;
    Index rows = 0, columns = 0;
    Index row_stride = 0, column_stride = 0;
};

// rows x columns in compressed rows; without values (or doubles) every stored value is 1.
struct Csr {
    const std::int64_t* starts = nullptr;   // rows + 1
    const std::int32_t* indices = nullptr;  // starts[rows]
    const float* values = nullptr;          // starts[rows] or nullptr
    const double* doubles = nullptr;        // the same, at most one of the two
    Index rows = 0, columns = 0;
    double value(Index entry) const {
        if (values != nullptr) return static_cast<double>(values[entry]);
        return doubles != nullptr ? doubles[entry] : 1.0;
    }
};

// The rows of a design matrix [dense | sparse]: either part may have no columns.
// The dense part is uint8 (numbers 0 to 255), float16, float32 or float64; at most one of the views is set.
struct Features {
    View<std::uint8_t> dense8;
    View<Float16> dense16;
    View<float> dense32;
    View<double> dense64;
    Csr sparse;
    Index rows = 0;
    Index dense_columns = 0;
    Index columns() const { return dense_columns + sparse.columns; }
};

// Calls body(column, value) for the dense part of a row.
template <class Body>
void dense_row(const Features& x, Index row, const Body& body) {
    const auto each = [&](const auto& view) {
        const auto* at = view.data + row * view.row_stride;
        for (Index j = 0; j < view.columns; ++j) body(j, static_cast<double>(at[j * view.column_stride]));
    };
    if (x.dense8.columns > 0) each(x.dense8);
    if (x.dense16.columns > 0) each(x.dense16);
    if (x.dense32.columns > 0) each(x.dense32);
    if (x.dense64.columns > 0) each(x.dense64);
}

// Calls body(entry's sparse column, its value) for what a row stores in the sparse part.
template <class Body>
void sparse_cells(const Csr& x, Index row, const Body& body) {
    if (x.columns == 0) return;
    for (Index e = x.starts[row]; e < x.starts[row + 1]; ++e) body(x.indices[e], x.value(e));
}

}  // namespace luce
