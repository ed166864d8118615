// X X' for sparse rows with more columns than rows: weights W = X'A are told by rows x outputs numbers A, and a product
// X X'A reads the matrix once, column by column, without ever storing W.
#pragma once
#include <vector>

#include "view.h"

namespace luce {

class RowSpace {
public:
    // Takes the columns apart; those met in one row only are kept as one number a row, the sum of their squares.
    explicit RowSpace(const Csr& x);

    // z (outputs x rows) = X X' a, a (outputs x rows). The bits do not depend on the number of threads.
    void product(const double* a, int outputs, double* z, int threads) const;

    Index rows() const { return rows_; }
    Index stored() const { return starts_.back(); }

private:
    Index rows_;
    std::vector<Index> starts_;         // of each column that is kept
    std::vector<std::int32_t> places_;  // rows
    std::vector<float> values_;         // one of the two is empty
    std::vector<double> doubles_;
    std::vector<double> alone_;  // rows
};

}  // namespace luce
