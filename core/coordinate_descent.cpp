#include "coordinate_descent.h"

#include <algorithm>
#include <cmath>

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
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

class Descent {
public:
    Descent(const QuadraticModel& m, double* direction)
        : m_(m),
          columns_(m.x->columns()),
          size_((columns_ + 1) * m.outputs),
          moved_(m.outputs * m.rows),
          mean_(m.rows),
          curvature_(size_),
          direction_(direction) {
        std::fill(direction, direction + size_, 0.0);
        Numbers weight(m.rows);
        for (int k = 0; k < m.outputs; ++k) {
            for (Index i = 0; i < m.rows; ++i) weight[i] = m.scale[i] * p(k)[i] * (1.0 - p(k)[i]);
            for (Index j = 0; j <= columns_; ++j) {
                double sum = 0.0;
                each(j, [&](Index i, double x) { sum += x * x * weight[i]; });
                curvature_[j * m.outputs + k] = sum + (j < columns_ ? m.l2 : 0.0);
            }
        }
    }

    // One round over all weights, or over those that are not 0; returns how far it lowered the model, about.
    double round(bool all) {
        double lowered = 0.0;
        for (int k = 0; k < m_.outputs; ++k) {
            for (Index j = 0; j < columns_; ++j)
                if (all || at_work(j, k)) lowered += step(j, k);
            if (m_.intercepts) lowered += step(columns_, k);
        }
        return lowered;
    }

    // Conjugate gradients, scaled by the diagonal, over the weights that are not 0 while they keep their signs: what
    // rounds of single weights reach slowly where columns go together. Weights that would change sign become 0, if
    // that lowers the model, else the step ends where the first one does. Returns how far it lowered the model.
    double polish(int most) {
        Numbers left(size_), d(size_), to(size_), product(size_), logits(moved_.size()), mean(m_.rows);
        slopes(left);
        for (double& v : left) v = -v;
        const double first = scaled(left, d);
        double size = first;
        for (int t = 0; t < most && size > 1e-6 * first; ++t) {
            multiply(d, logits, mean, product);
            const double along = dot(d, product);
            if (!(along > 0.0)) break;
            const double a = size / along;
            for (Index i = 0; i < size_; ++i) to[i] += a * d[i], left[i] -= a * product[i];
            Numbers next(size_);
            const double now = scaled(left, next);
            for (Index i = 0; i < size_; ++i) d[i] = next[i] + now / size * d[i];
            size = now;
        }
        double whole = 1.0;
        Numbers clipped = to;
        for (Index i = 0; i < columns_ * m_.outputs; ++i) {
            const double now = m_.weights[i] + direction_[i];
            if (now == 0.0 || (now + to[i] > 0.0) == (now > 0.0)) continue;
            whole = std::min(whole, -now / to[i]);
            clipped[i] = -now;
        }
        if (whole == 1.0) return take(to, logits, mean, product);
        const double lowered = take(clipped, logits, mean, product);
        if (lowered > 0.0) return lowered;
        for (double& v : to) v *= whole;
        return take(to, logits, mean, product);
    }

private:
    const double* p(int k) const { return m_.shares + k * m_.rows; }

    bool at_work(Index j, int k) const {
        const Index at = j * m_.outputs + k;
        return m_.weights[at] + direction_[at] != 0.0;
    }

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

    // The model's slope along one weight, without the L1 penalty.
    double slope(Index j, int k, const double* moved, const double* mean) const {
        const double *share = p(k), *scale = m_.scale;
        double sum = 0.0;
        if (m_.outputs == 1)
            each(j, [&](Index i, double x) { sum += x * (scale[i] * share[i] * (1.0 - share[i]) * moved[i]); });
        else
            each(j, [&](Index i, double x) { sum += x * (scale[i] * share[i] * (moved[i] - mean[i])); });
        return sum;
    }

    void move(Index j, int k, double change, double* moved, double* mean) const {
        const double* share = p(k);
        if (m_.outputs == 1)
            each(j, [&](Index i, double x) { moved[i] += change * x; });
        else
            each(j, [&](Index i, double x) {
                moved[i] += change * x;
                mean[i] += share[i] * change * x;
            });
    }

    double step(Index j, int k) {
        const Index at = j * m_.outputs + k;
        const double h = curvature_[at];
        if (!(h > 0.0)) return 0.0;
        double g = m_.gradient[at] + slope(j, k, &moved_[k * m_.rows], mean_.data());
        double change = -g / h;
        if (j < columns_) {
            g += m_.l2 * direction_[at];
            const double now = m_.weights[at] + direction_[at], free = now - g / h, pull = m_.l1 / h;
            change = (free > pull ? free - pull : free < -pull ? free + pull : 0.0) - now;
        }
        if (change == 0.0) return 0.0;
        direction_[at] += change;
        move(j, k, change, &moved_[k * m_.rows], mean_.data());
        return 0.5 * h * change * change;
    }

    // Calls body(column, class, place) for the weights that are not 0 and the intercepts.
    template <class Body>
    void over_work(const Body& body) const {
        for (int k = 0; k < m_.outputs; ++k) {
            for (Index j = 0; j < columns_; ++j)
                if (at_work(j, k)) body(j, k, j * m_.outputs + k);
            if (m_.intercepts) body(columns_, k, columns_ * m_.outputs + k);
        }
    }

    // The slope of the model, penalty and all, along the weights at work; 0 for the others.
    void slopes(Numbers& out) const {
        std::fill(out.begin(), out.end(), 0.0);
        over_work([&](Index j, int k, Index at) {
            out[at] = m_.gradient[at] + slope(j, k, &moved_[k * m_.rows], mean_.data());
            if (j == columns_) return;
            const double now = m_.weights[at] + direction_[at];
            out[at] += m_.l2 * direction_[at] + (now > 0.0 ? m_.l1 : -m_.l1);
        });
    }

    // out = left / diagonal; returns left . out
    double scaled(const Numbers& left, Numbers& out) const {
        for (Index i = 0; i < size_; ++i) out[i] = curvature_[i] > 0.0 ? left[i] / curvature_[i] : 0.0;
        return dot(left, out);
    }

    // product = the model's curvature times d, over the weights at work
    void multiply(const Numbers& d, Numbers& logits, Numbers& mean, Numbers& product) const {
        std::fill(logits.begin(), logits.end(), 0.0);
        std::fill(mean.begin(), mean.end(), 0.0);
        over_work([&](Index j, int k, Index at) { move(j, k, d[at], &logits[k * m_.rows], mean.data()); });
        over_work([&](Index j, int k, Index at) {
            product[at] = slope(j, k, &logits[k * m_.rows], mean.data()) + (j < columns_ ? m_.l2 * d[at] : 0.0);
        });
    }

    // Moves by d if that lowers the model; returns by how much.
    double take(const Numbers& d, Numbers& logits, Numbers& mean, Numbers& product) {
        Numbers now(size_);
        slopes(now);
        multiply(d, logits, mean, product);
        const double lowered = -dot(now, d) - 0.5 * dot(d, product);
        if (!(lowered > 0.0)) return 0.0;
        for (Index i = 0; i < columns_ * m_.outputs; ++i)  // exactly 0 where the weight is to become 0
            direction_[i] = m_.weights[i] + direction_[i] == -d[i] ? -m_.weights[i] : direction_[i] + d[i];
        for (Index i = columns_ * m_.outputs; i < size_; ++i) direction_[i] += d[i];
        for (std::size_t i = 0; i < moved_.size(); ++i) moved_[i] += logits[i];
        for (Index i = 0; i < m_.rows; ++i) mean_[i] += mean[i];
        return lowered;
    }

    const QuadraticModel& m_;
    Index columns_, size_;
    Numbers moved_, mean_, curvature_;  // D (outputs x rows), p'D, the model's curvature along each weight
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

int descend(const QuadraticModel& model, double enough, int most, double* direction) {
    Descent descent(model, direction);
    int rounds = 0;
    while (rounds < most) {
        const double lowered = descent.round(true);
        descent.round(false);
        rounds += 2;
        if (descent.polish(60) + lowered <= enough) break;
    }
    return rounds;
}

}  // namespace luce
