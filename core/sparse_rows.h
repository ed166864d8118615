// What is done to the rows of a sparse matrix before a fit.
#pragma once
#include "view.h"

namespace luce {

// The stored columns of each row in ascending order, in place: starts (rows + 1), indices and values (starts[rows]), T
// float or double. Returns whether a row stores a column twice.
template <class T>
bool sort_rows(const std::int64_t* starts, Index rows, std::int32_t* indices, T* values, int threads);

// met (columns): how many rows store something in each column, 2 for more than one. Returns how many numbers are alone,
// each the only one of its column.
Index meet_columns(const Csr& x, std::uint8_t* met, int threads);

// Of each row how many numbers are not alone, and the sum of the squares of those that are: (rows) each.
void part_rows(const Csr& x, const std::uint8_t* met, std::int64_t* shared, double* alone, int threads);

// The numbers that are not alone: starts (rows + 1) says where the rows go, place (columns) what the columns are called
// there. T is float or double.
template <class T>
void shared_entries(const Csr& x, const std::uint8_t* met, const std::int32_t* place, const std::int64_t* starts,
                    std::int32_t* indices, T* values, int threads);

// out (columns x outputs) = X'R for R (outputs x rows), of which `shared` is what the numbers have that are not alone.
void spread_product(const Csr& x, const std::uint8_t* met, const std::int32_t* place, const double* shared,
                    const double* residual, int outputs, double* out, int threads);

}  // namespace luce
