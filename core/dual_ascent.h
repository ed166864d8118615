// Coordinate ascent on the dual of softmax regression for wide rows (Shalev-Shwartz and Zhang, JMLR 14, 2013; Yu,
// Huang and Lin, Machine Learning 85, 2011): row by row the best distribution a_i over the classes is found while all
// others are held, and the weights follow,
//
//   W = sum_i s_i x_i (y_i - a_i)' / l2,   D(a) = sum_i s_i H(a_i) - l2/2 |W|^2,
//   P(W) - D(a) = sum_i s_i KL(a_i || p_i)
//
// if sum_i s_i (a_i - y_i) = 0. Rows are taken in an order that depends on the number of the epoch alone, by one
// thread.
#pragma once
#include <vector>

#include "cross_entropy.h"
#include "kernels.h"
#include "view.h"

namespace luce {

class DualAscent {
public:
    // Borrows x, all of it sparse or all dense in float16 or float32 with rows that lie in one piece, and the targets.
    // Begins at W = 0, a_i = y_i. alone (rows, not kept), or nullptr: the sums of the squares of further numbers of
    // each row, each the only one of its column. What these columns weigh follows from their row alone.
    DualAscent(const Features& x, const Targets& y, double l2, const double* alone);

    // One run over the rows with weight: the losses it has met, each before the row was last changed, and at its end
    // the divergences sum_i s_i KL(a_i || p_i), of many rows by a sample. Rows far from their best are looked at twice.
    struct Met {
        double loss = 0, divergence = 0;
    };
    // bias (outputs), if `free`: it moves with every row as the weight of a further column would, held where the run
    // began (a proximal step).
    Met epoch(double* bias, bool free);

    // residual (outputs x rows) = s_i (a_i - y_i)
    void residual(double* out) const;
    // The distributions whose residuals these are; the weights follow.
    void take(const double* residual);
    double square() const;  // |W|^2
    // logits (outputs x rows) = X W + bias, for all rows
    void logits(const double* bias, double* out, int threads) const;

private:
    // What the numbers that are alone add to logit k of row i.
    double of_alone(Index i, int k) const {
        return static_cast<double>(facts_[i].alone) * weight(i) * static_cast<double>(left_[i * width_ + k]) / l2_;
    }
    double weight(Index i) const { return y_.weight == nullptr ? 1.0 : y_.weight[i]; }

    struct Row {
        const std::int32_t* indices;
        const float* values;
        Index count;
    };
    // Calls body(row, what is in it), and asks for what comes later.
    template <class Body>
    void each(const std::vector<std::int32_t>& rows, const Body& body);
    void visit(const std::vector<std::int32_t>& rows, double* bias, double pull);
    double divergence(const double* bias, double pull);

    // Of two classes: y as 1 or -1, y z, the probability that a gives the other class, and what a row is from its best.
    struct Look {
        double sign = 0, margin = 0, before = 0, loss = 0, divergence = 0;
    };
    Look look_at_two(Index i, const Row& x, const double* bias) const;
    void row_of_two(Index i, const Row& x, double* bias, double pull);
    DualRow look(Index i, const Row& x, const double* bias, double pull);  // before kernels().dual_row
    void row(Index i, const Row& x, double* bias, double pull);
    // room: of `columns_` numbers, for a row of float16
    Row at(Index i, float* room) const;
    void bring_facts(Index i) const;  // hints that this row comes later, soon, and next
    void bring(Index i) const;
    void bring_weights(Index i) const;
    void gather(const Row& row, float* z) const;
    void scatter(const Row& row, const float* change);

    Features x_;
    Index rows_, columns_;
    Targets y_;
    double l2_, pull_;
    struct Facts {
        float square = 0, alone = 0;     // |x_i|^2, and of it what the numbers have that are alone
        float loss = 0, divergence = 0;  // when the row was last looked at
    };
    Index width_;                      // numbers that a column has in weights_, and a row in left_
    std::vector<float> own_;           // the values, where sparse rows have doubles or none
    const float* values_ = nullptr;    // as many as sparse rows store
    std::vector<std::int32_t> every_;  // all columns, of dense rows
    std::vector<float> weights_;       // columns x width
    std::vector<float> left_;          // rows x width: y_i - a_i; of two classes that of the second
    std::vector<Facts> facts_;         // of each row
    std::vector<bool> met_;            // classes that a row with weight is of; a free bias keeps the others at 0
    std::uint64_t epoch_ = 0;
    std::vector<std::int32_t> order_;
    std::vector<float> room_;                  // of the row that is looked at
    std::vector<float> z_, a_, change_, log_;  // of the row that is looked at
};

}  // namespace luce
