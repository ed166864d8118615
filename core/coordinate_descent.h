// The quadratic model of the objective with an L1 penalty, minimised one weight at a time.
//
//   q(d) = g.d + 1/2 sum_i s_i D_i'(diag p_i - p_i p_i')D_i + l2/2 |d|^2 + l1 |W + d|_1,   D_i = sum_j x_ij d_j + d_b
//
// over some columns of X and, if wanted, the intercepts d_b, which no penalty touches (two classes: p (1 - p) D^2).
// Of few weights the curvature is a matrix; of many D is kept for all rows, so that a step along one weight costs what
// its column stores.
#pragma once
#include <vector>

#include "view.h"

namespace luce {

// Some columns of some rows, column by column; `rows` are places in the list of rows that was asked for.
struct ColumnLists {
    std::vector<Index> starts;
    std::vector<std::int32_t> rows;
    std::vector<float> values;
    Index columns() const { return static_cast<Index>(starts.size()) - 1; }
};

ColumnLists column_lists(const Features& x, const Index* rows, Index row_count, const Index* columns,
                         Index column_count);

// q at the weights W: its slope and what pulls the weights, and how long to go on.
struct ModelPoint {
    Index columns;
    int outputs;
    const double* weights;   // columns x outputs: W
    const double* gradient;  // (columns + 1) x outputs: g, the last row that of the intercepts
    double l1;
    bool intercepts;
    // Goes over the weights in turn, class by class, until a round over all of them lowers the model by less than
    // `enough`, or `most` rounds are done; between full rounds it stays with the weights that are not 0.
    double enough;
    int most;
};

// The curvature of some rows, told by what they store.
struct RowModel {
    const ColumnLists* x;
    Index rows;
    const double* shares;  // outputs x rows: p
    const double* scale;   // rows: s
    double l2;
};

// Both put d into direction ((columns + 1) x outputs) and return the number of rounds. `curvature` is the whole matrix
// of q, symmetric, (columns + 1) * outputs square, in the order of the direction.
int descend(const ModelPoint& at, const RowModel& model, double* direction);
int descend(const ModelPoint& at, const double* curvature, double* direction);

}  // namespace luce
