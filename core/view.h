// Borrowed arrays: a dense table with any strides, and sparse rows. They never own memory.
#pragma once
#include <cstdint>

namespace luce {

using Index = std::int64_t;

// rows x columns; element (i, j) lies at data[i * row_stride + j * column_stride] (strides in elements).
template <class T>
struct View {
    const T* data = nullptr;
    Index rows = 0, columns = 0;
    Index row_stride = 0, column_stride = 0;
};

// rows x columns in compressed rows; values == nullptr means that every stored value is 1.
struct Csr {
    const std::int64_t* starts = nullptr;   // rows + 1
    const std::int32_t* indices = nullptr;  // starts[rows]
    const float* values = nullptr;          // starts[rows] or nullptr
    Index rows = 0, columns = 0;
};

// The rows of a design matrix [dense | sparse]: either part may have no columns.
// The dense part is uint8 (numbers 0 to 255), float32 or float64; at most one of the views is set.
struct Features {
    View<std::uint8_t> dense8;
    View<float> dense32;
    View<double> dense64;
    Csr sparse;
    Index rows = 0;
    Index dense_columns = 0;
    Index columns() const { return dense_columns + sparse.columns; }
};

}  // namespace luce
