// Sums over rows by the cells of pairs of columns: what a search for columns that act together looks at.
#pragma once
#include <cstdint>

#include "view.h"

namespace luce {

// codes: (columns, rows), the part of each column that a row is in, below `parts`; group: (rows), below `groups`;
// numbers: (rows, width); pairs: (count, 2) columns. out: (count, groups, parts * parts, width) gets the sums over the
// rows of a group in cell codes[a] * parts + codes[b], added up in the order of the rows.
void pair_sums(const std::uint8_t* codes, Index rows, Index parts, const std::uint8_t* group, Index groups,
               const double* numbers, Index width, const std::int32_t* pairs, Index count, double* out, int threads);

}  // namespace luce
