#include "coordinate_descent.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"

namespace luce {
namespace {

// Calls body(column, value) for what a row stores.
template <class Body>
void cells(const Features& x, Index row, const Body& body) {
    dense_row(x, row, body);
    sparse_cells(x.sparse, row, [&](Index j, double value) { body(x.dense_columns + j, value); });
}

using Numbers = std::vector<double>;

double dot(const Numbers& a, const Numbers& b) {
    return kernels().dot(a.data(), b.data(), static_cast<Index>(a.size()));
}

// A curvature H with the move d made so far: the slope (H d)_at is at hand.

class RowCurvature {
public:
    RowCurvature(const ModelPoint& at, const RowModel& m)
        : m_(m), columns_(at.columns), outputs_(at.outputs), moved_(outputs_ * m.rows), mean_(m.rows) {}

    double diagonal(Index j, int k) const {
        double sum = 0.0;
        each(j, [&](Index i, double x) { sum += x * x * (m_.scale[i] * p(k)[i] * (1.0 - p(k)[i])); });
        return sum + (j < columns_ ? m_.l2 : 0.0);
    }

    double slope(Index j, int k, double d) const {
        return along(j, k, &moved_[k * m_.rows], mean_.data()) + (j < columns_ ? m_.l2 * d : 0.0);
    }

    void move(Index j, int k, double change) { move(j, k, change, &moved_[k * m_.rows], mean_.data()); }

    // product = H d over the weights at work, which over_work(body) goes through
    template <class OverWork>
    void multiply(const Numbers& d, const OverWork& over_work, Numbers& product) {
        logits_.assign(moved_.size(), 0.0);
        shared_.assign(m_.rows, 0.0);
        over_work([&](Index j, int k, Index at) { move(j, k, d[at], &logits_[k * m_.rows], shared_.data()); });
        over_work([&](Index j, int k, Index at) {
            product[at] = along(j, k, &logits_[k * m_.rows], shared_.data()) + (j < columns_ ? m_.l2 * d[at] : 0.0);
        });
    }

    // Moves by the d that was last multiplied.
    void take() {
        for (std::size_t i = 0; i < moved_.size(); ++i) moved_[i] += logits_[i];
        for (Index i = 0; i < m_.rows; ++i) mean_[i] += shared_[i];
    }

private:
    const double* p(int k) const { return m_.shares + k * m_.rows; }

    // Calls body(row, value) for what a column stores; the column after the last is the intercept's.
    template <class Body>
    void each(Index j, const Body& body) const {
        if (j == columns_) {
            for (Index i = 0; i < m_.rows; ++i) body(i, 1.0);
            return;
        }
        const Index first = m_.x->starts[j], stored = m_.x->starts[j + 1] - first;
        const float* values = m_.x->values.data() + first;
        if (stored == m_.rows) {
            for (Index i = 0; i < stored; ++i) body(i, static_cast<double>(values[i]));
            return;
        }
        const std::int32_t* rows = m_.x->rows.data() + first;
        for (Index e = 0; e < stored; ++e) body(rows[e], static_cast<double>(values[e]));
    }

    double along(Index j, int k, const double* moved, const double* mean) const {
        const double *share = p(k), *scale = m_.scale;
        double sum = 0.0;
        if (outputs_ == 1)
            each(j, [&](Index i, double x) { sum += x * (scale[i] * share[i] * (1.0 - share[i]) * moved[i]); });
        else
            each(j, [&](Index i, double x) { sum += x * (scale[i] * share[i] * (moved[i] - mean[i])); });
        return sum;
    }

    void move(Index j, int k, double change, double* moved, double* mean) const {
        const double* share = p(k);
        if (outputs_ == 1)
            each(j, [&](Index i, double x) { moved[i] += change * x; });
        else
            each(j, [&](Index i, double x) {
                moved[i] += change * x;
                mean[i] += share[i] * change * x;
            });
    }

    const RowModel& m_;
    Index columns_;
    int outputs_;
    Numbers moved_, mean_;     // D (outputs x rows) and p'D of the move
    Numbers logits_, shared_;  // the same of what was last multiplied
};

class MatrixCurvature {
public:
    MatrixCurvature(const ModelPoint& at, const double* matrix)
        : matrix_(matrix), outputs_(at.outputs), size_((at.columns + 1) * at.outputs), slopes_(size_) {}

    double diagonal(Index j, int k) const { return row(place(j, k))[place(j, k)]; }
    double slope(Index j, int k, double) const { return slopes_[place(j, k)]; }
    void move(Index j, int k, double change) {
        kernels().subtract_scaled(slopes_.data(), row(place(j, k)), -change, size_);
    }

    template <class OverWork>
    void multiply(const Numbers& d, const OverWork& over_work, Numbers& product) {
        product.assign(size_, 0.0);
        over_work([&](Index, int, Index at) {
            if (d[at] != 0.0) kernels().subtract_scaled(product.data(), row(at), -d[at], size_);
        });
        product_ = product;
    }

    void take() {
        for (Index i = 0; i < size_; ++i) slopes_[i] += product_[i];
    }

private:
    Index place(Index j, int k) const { return j * outputs_ + k; }
    const double* row(Index at) const { return matrix_ + at * size_; }

    const double* matrix_;
    int outputs_;
    Index size_;
    Numbers slopes_, product_;
};

template <class Curvature>
class Descent {
public:
    Descent(const ModelPoint& at, Curvature& curvature, double* direction)
        : at_(at),
          curvature_(curvature),
          size_((at.columns + 1) * at.outputs),
          diagonal_(size_),
          direction_(direction) {
        std::fill(direction, direction + size_, 0.0);
        for (int k = 0; k < at.outputs; ++k)
            for (Index j = 0; j <= at.columns; ++j) diagonal_[j * at.outputs + k] = curvature.diagonal(j, k);
    }

    int go() {
        int rounds = 0;
        while (rounds < at_.most) {
            const double lowered = round(true) + round(false) + polish(30);
            rounds += 2;
            if (lowered <= at_.enough) break;
        }
        return rounds;
    }

private:
    bool at_work(Index at) const { return at_.weights[at] + direction_[at] != 0.0; }

    // One round over all weights, or over those that are not 0; returns how far it lowered the model, about.
    double round(bool all) {
        double lowered = 0.0;
        for (int k = 0; k < at_.outputs; ++k) {
            for (Index j = 0; j < at_.columns; ++j)
                if (all || at_work(j * at_.outputs + k)) lowered += step(j, k);
            if (at_.intercepts) lowered += step(at_.columns, k);
        }
        return lowered;
    }

    double step(Index j, int k) {
        const Index at = j * at_.outputs + k;
        const double h = diagonal_[at];
        if (!(h > 0.0)) return 0.0;
        const double g = at_.gradient[at] + curvature_.slope(j, k, direction_[at]);
        double change = -g / h;
        if (j < at_.columns) {
            const double now = at_.weights[at] + direction_[at], free = now - g / h, pull = at_.l1 / h;
            change = (free > pull ? free - pull : free < -pull ? free + pull : 0.0) - now;
        }
        if (change == 0.0) return 0.0;
        direction_[at] += change;
        curvature_.move(j, k, change);
        return 0.5 * h * change * change;
    }

    // Calls body(column, class, place) for the weights that are not 0 and the intercepts.
    template <class Body>
    void over_work(const Body& body) const {
        for (int k = 0; k < at_.outputs; ++k) {
            for (Index j = 0; j < at_.columns; ++j)
                if (at_work(j * at_.outputs + k)) body(j, k, j * at_.outputs + k);
            if (at_.intercepts) body(at_.columns, k, at_.columns * at_.outputs + k);
        }
    }

    // Conjugate gradients, scaled by the diagonal, over the weights that are not 0 while they keep their signs: what
    // rounds of single weights reach slowly where columns go together. Weights that would change sign become 0, if
    // that lowers the model, else the step ends where the first one does. Returns how far it lowered the model.
    double polish(int most) {
        Numbers left(size_), d(size_), to(size_), product(size_), next(size_);
        slopes(left);
        for (double& v : left) v = -v;
        const double first = scaled(left, d);
        double size = first;
        for (int t = 0; t < most && size > 1e-6 * first; ++t) {
            multiply(d, product);
            const double along = dot(d, product);
            if (!(along > 0.0)) break;
            const double a = size / along;
            for (Index i = 0; i < size_; ++i) to[i] += a * d[i], left[i] -= a * product[i];
            const double now = scaled(left, next);
            for (Index i = 0; i < size_; ++i) d[i] = next[i] + now / size * d[i];
            size = now;
        }
        double whole = 1.0;
        Numbers clipped = to;
        for (Index i = 0; i < at_.columns * at_.outputs; ++i) {
            const double now = at_.weights[i] + direction_[i];
            if (now == 0.0 || (now + to[i] > 0.0) == (now > 0.0)) continue;
            whole = std::min(whole, -now / to[i]);
            clipped[i] = -now;
        }
        if (whole == 1.0) return take(to, product);
        const double lowered = take(clipped, product);
        if (lowered > 0.0) return lowered;
        for (double& v : to) v *= whole;
        return take(to, product);
    }

    void multiply(const Numbers& d, Numbers& product) {
        curvature_.multiply(d, [&](const auto& body) { over_work(body); }, product);
    }

    // The slope of the model, penalty and all, along the weights at work; 0 for the others.
    void slopes(Numbers& out) const {
        std::fill(out.begin(), out.end(), 0.0);
        over_work([&](Index j, int k, Index at) {
            out[at] = at_.gradient[at] + curvature_.slope(j, k, direction_[at]);
            if (j < at_.columns) out[at] += at_.weights[at] + direction_[at] > 0.0 ? at_.l1 : -at_.l1;
        });
    }

    // out = left / diagonal over the weights at work; returns left . out
    double scaled(const Numbers& left, Numbers& out) const {
        std::fill(out.begin(), out.end(), 0.0);
        over_work([&](Index, int, Index at) { out[at] = diagonal_[at] > 0.0 ? left[at] / diagonal_[at] : 0.0; });
        return dot(left, out);
    }

    // Moves by d if that lowers the model; returns by how much.
    double take(const Numbers& d, Numbers& product) {
        Numbers now(size_);
        slopes(now);
        multiply(d, product);
        const double lowered = -dot(now, d) - 0.5 * dot(d, product);
        if (!(lowered > 0.0)) return 0.0;
        curvature_.take();
        const Index penalised = at_.columns * at_.outputs;
        for (Index i = 0; i < size_; ++i)  // exactly 0 where the weight is to become 0
            direction_[i] =
                i < penalised && at_.weights[i] + direction_[i] == -d[i] ? -at_.weights[i] : direction_[i] + d[i];
        return lowered;
    }

    const ModelPoint& at_;
    Curvature& curvature_;
    Index size_;
    Numbers diagonal_;
    double* direction_;
};

}  // namespace

ColumnLists column_lists(const Features& x, const Index* rows, Index row_count, const Index* columns,
                         Index column_count) {
    std::vector<Index> place(x.columns(), -1);
    for (Index j = 0; j < column_count; ++j) place[columns[j]] = j;
    ColumnLists out;
    out.starts.assign(column_count + 1, 0);
    const auto over = [&](const auto& body) {
        for (Index i = 0; i < row_count; ++i)
            cells(x, rows[i], [&](Index column, double value) {
                if (place[column] >= 0 && value != 0.0) body(place[column], i, value);
            });
    };
    over([&](Index j, Index, double) { ++out.starts[j + 1]; });
    for (Index j = 0; j < column_count; ++j) out.starts[j + 1] += out.starts[j];
    out.rows.resize(out.starts.back());
    out.values.resize(out.starts.back());
    std::vector<Index> next(out.starts.begin(), out.starts.end() - 1);
    over([&](Index j, Index i, double value) {
        out.rows[next[j]] = static_cast<std::int32_t>(i);
        out.values[next[j]++] = static_cast<float>(value);
    });
    return out;
}

int descend(const ModelPoint& at, const RowModel& model, double* direction) {
    RowCurvature curvature(at, model);
    return Descent(at, curvature, direction).go();
}

int descend(const ModelPoint& at, const double* curvature, double* direction) {
    MatrixCurvature matrix(at, curvature);
    return Descent(at, matrix, direction).go();
}

}  // namespace luce
