// A sparse matrix by its columns. X X': with more columns than rows, weights W = X'A are told by rows x outputs numbers
// A, and a product X X'A reads the matrix once, column by column, without ever storing W. X': what of it stands out.
#pragma once
#include <vector>

#include "view.h"

namespace luce {

class RowSpace {
public:
    // Takes the columns apart; those met in one row only come last, and for X X' one number a row stands for them, the
    // sum of their squares.
    explicit RowSpace(const Csr& x);

    // z (outputs x rows) = X X' a, a (outputs x rows). The bits do not depend on the number of threads.
    void product(const double* a, int outputs, double* z, int threads) const;

    // For each column j of X and g_k = sum_i x_ij r_ki: peak[j] = max_k |g_k|, excess[j] = sum_k max(|g_k| - least,
    // 0)^2.
    void peaks(const double* r, int outputs, double least, double* peak, double* excess, int threads) const;

    Index rows() const { return rows_; }
    Index columns() const { return columns_; }

private:
    Index shared() const { return static_cast<Index>(starts_.size()) - 1; }
    std::vector<double> by_row(const double* a, int outputs, Index width, int threads) const;

    Index rows_, columns_;
    std::vector<Index> names_;          // the columns of X that store something, in the order kept here
    std::vector<Index> starts_;         // of each column that several rows share; the others have one number each
    std::vector<std::int32_t> places_;  // rows
    std::vector<float> values_;         // one of the two is empty
    std::vector<double> doubles_;
    std::vector<double> alone_;  // rows
};

}  // namespace luce
