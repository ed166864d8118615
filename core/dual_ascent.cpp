#include "dual_ascent.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace luce {

namespace {

constexpr Index BLOCK = 512;        // rows that a thread takes at a time
constexpr float UNCHANGED = 1e-6f;  // a row whose distribution would change by less is left as it is
constexpr float NOWHERE = -1e30f;   // the logit of no class
constexpr int MOST_STEPS = 40;      // with two classes
constexpr double PULL = 0.25;       // of the mean square of a row: the square of the number in the bias's column
constexpr double RESTLESS = 4.0;    // times the mean divergence: such rows are looked at again
constexpr int MOST_ROUNDS = 8;
// Rows ahead of which first the facts, then the numbers, then the weights of their columns are asked for.
constexpr std::size_t LATER = 16, SOON = 8, NEXT = 3;
// A function that only asks for memory, and is not in place, is left out by GCC as one without effect.
#define ASKING inline __attribute__((always_inline))
constexpr Index LINE = 16, MOST_ASKED = 64;  // numbers of a line of the cache; of a row that are asked for

std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

}  // namespace

DualAscent::DualAscent(const Features& x, const Targets& y, double l2)
    : x_(x), rows_(x.rows), columns_(x.columns()), y_(y), l2_(l2) {
    const int outputs = y.outputs();
    width_ = outputs == 1 ? 1 : (outputs + 7) / 8 * 8;
    const Csr& sparse = x.sparse;
    if (sparse.columns > 0) {
        if (sparse.values == nullptr) {
            own_.resize(static_cast<std::size_t>(sparse.starts[rows_]));
            for (std::size_t e = 0; e < own_.size(); ++e)
                own_[e] = static_cast<float>(sparse.value(static_cast<Index>(e)));
        }
        values_ = sparse.values == nullptr ? own_.data() : sparse.values;
    } else {
        every_.resize(static_cast<std::size_t>(columns_));
        for (std::size_t j = 0; j < every_.size(); ++j) every_[j] = static_cast<std::int32_t>(j);
    }
    if (x.dense16.data != nullptr) room_.resize(static_cast<std::size_t>(columns_));
    weights_.assign(static_cast<std::size_t>(columns_ * width_), 0.0f);
    left_.assign(static_cast<std::size_t>(rows_ * width_), 0.0f);
    square_.resize(static_cast<std::size_t>(rows_));
    met_.assign(static_cast<std::size_t>(std::max(outputs, 2)), false);
    loss_.assign(square_.size(), 0.0f);
    divergence_.assign(square_.size(), 0.0f);
    for (Index i = 0; i < rows_; ++i) {
        double sum = 0.0;
        const Row row = at(i, room_.data());
        for (Index e = 0; e < row.count; ++e)
            sum += static_cast<double>(row.values[e]) * static_cast<double>(row.values[e]);
        square_[i] = static_cast<float>(sum);
        if (weight(i) > 0.0) {
            order_.push_back(static_cast<std::int32_t>(i));
            met_[y.label[i]] = true;
        }
    }
    double squares = 0.0;
    for (const float square : square_) squares += static_cast<double>(square);
    pull_ = PULL * (squares > 0.0 ? squares / static_cast<double>(rows_) : 1.0);
    for (std::vector<float>* scratch : {&z_, &a_, &change_, &log_})
        scratch->assign(static_cast<std::size_t>((outputs + 15) / 16 * 16), 0.0f);
}

DualAscent::Row DualAscent::at(Index i, float* room) const {
    if (every_.empty()) {
        const Index first = x_.sparse.starts[i];
        return {x_.sparse.indices + first, values_ + first, x_.sparse.starts[i + 1] - first};
    }
    if (x_.dense16.data != nullptr) {
        kernels().widen(x_.dense16.data + i * x_.dense16.row_stride, columns_, room);
        return {every_.data(), room, columns_};
    }
    return {every_.data(), x_.dense32.data + i * x_.dense32.row_stride, columns_};
}

ASKING void DualAscent::bring_facts(Index i) const {
    if (every_.empty()) __builtin_prefetch(x_.sparse.starts + i);
    for (Index k = 0; k < width_; k += LINE) __builtin_prefetch(&left_[i * width_ + k]);
    __builtin_prefetch(&square_[i]);
    __builtin_prefetch(y_.label + i);
}

ASKING void DualAscent::bring(Index i) const {
    if (every_.empty()) {
        const Index first = x_.sparse.starts[i], end = std::min(x_.sparse.starts[i + 1], first + MOST_ASKED);
        for (Index e = first; e < end + LINE; e += LINE) {
            __builtin_prefetch(x_.sparse.indices + e);
            __builtin_prefetch(values_ + e);
        }
    } else if (x_.dense16.data != nullptr) {
        __builtin_prefetch(x_.dense16.data + i * x_.dense16.row_stride);
    } else {
        __builtin_prefetch(x_.dense32.data + i * x_.dense32.row_stride);
    }
}

ASKING void DualAscent::bring_weights(Index i) const {
    if (!every_.empty()) return;
    const Row row = at(i, nullptr);
    const float* w = weights_.data();
    for (Index e = 0; e < std::min(row.count, MOST_ASKED); ++e)
        for (Index k = 0; k < width_; k += LINE) __builtin_prefetch(w + row.indices[e] * width_ + k);
}

void DualAscent::visit(const std::vector<std::int32_t>& rows, double* bias, double pull) {
    for (std::size_t n = 0; n < rows.size(); ++n) {
        if (n + LATER < rows.size()) bring_facts(rows[n + LATER]);
        if (n + SOON < rows.size()) bring(rows[n + SOON]);
        if (n + NEXT < rows.size()) bring_weights(rows[n + NEXT]);
        if (y_.outputs() == 1)
            row_of_two(rows[n], bias, pull);
        else
            row(rows[n], bias, pull);
    }
}

void DualAscent::gather(const Row& row, float* z) const {
    kernels().gather(row.indices, row.values, row.count, weights_.data(), width_, z);
}

void DualAscent::scatter(const Row& row, const float* change) {
    kernels().scatter(row.indices, row.values, row.count, change, width_, weights_.data());
}

DualAscent::Met DualAscent::epoch(double* bias, bool free) {
    ++epoch_;
    std::uint64_t state = mixed(epoch_);
    for (std::size_t n = order_.size(); n > 1; --n) {
        state = mixed(state);
        std::swap(order_[n - 1], order_[static_cast<std::size_t>((static_cast<unsigned __int128>(state) * n) >> 64)]);
    }
    const int outputs = y_.outputs();
    const double pull = free ? pull_ : 0.0;
    Met met;
    if (free) {
        std::vector<double> left(static_cast<std::size_t>(outputs));
        for (const std::int32_t i : order_)
            for (int k = 0; k < outputs; ++k) left[k] += weight(i) * static_cast<double>(left_[i * width_ + k]);
        for (int k = 0; k < outputs; ++k) bias[k] += pull / l2_ * left[k];
    }
    visit(order_, bias, pull);
    const auto sum = [&](const std::vector<float>& of) {
        double all = 0.0;
        for (const std::int32_t i : order_) all += static_cast<double>(of[i]);
        return all;
    };
    std::vector<std::int32_t> restless;
    std::size_t visits = 0;
    for (int round = 0; round < MOST_ROUNDS && visits < order_.size() / 4; ++round) {
        const double bound = RESTLESS * sum(divergence_) / static_cast<double>(order_.size());
        restless.clear();
        for (const std::int32_t i : order_)
            if (static_cast<double>(divergence_[i]) > bound) restless.push_back(i);
        visit(restless, bias, pull);
        visits += restless.size();
        if (restless.empty()) break;
    }
    met.loss = sum(loss_);
    met.divergence = sum(divergence_);
    return met;
}

void DualAscent::row_of_two(Index i, double* bias, double pull) {
    const Row x = at(i, room_.data());
    float sum = 0.0f;
    gather(x, &sum);
    const double z = static_cast<double>(sum) + bias[0], s = weight(i), y = y_.label[i] == 1 ? 1.0 : 0.0;
    const double held = static_cast<double>(left_[i]);  // y - a
    const double sign = y == 1.0 ? 1.0 : -1.0, margin = sign * z;
    const double loss = margin > 0.0 ? std::log1p(std::exp(-margin)) : std::log1p(std::exp(margin)) - margin;
    loss_[i] = static_cast<float>(s * loss);
    // m = |y - a| = probability that a gives the other class; wants  -ln(m / (1 - m)) = margin - q (m - held), as the
    // weights move with m
    const double q = s * (static_cast<double>(square_[i]) + pull) / l2_;
    const double before = sign * held;
    // KL(a || p) = loss of y under p, with entropy: (1 - m) ln((1 - m) / p_y) + m ln(m / (1 - p_y))
    double divergence = before < 1.0 ? (1.0 - before) * (std::log1p(-before) + loss) : 0.0;
    if (before > 0.0) divergence += before * (std::log(before) + loss + margin);
    divergence_[i] = static_cast<float>(s * std::max(divergence, 0.0));
    // u = ln((1 - m) / m): u = margin + q (m(u) - before), m falling in u
    double u = margin, low = margin - q * before, high = margin + q * (1.0 - before), last = high - low;
    for (int step = 0; step < MOST_STEPS; ++step) {
        const double e = std::exp(-std::fabs(u)), m = u >= 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
        const double f = u - margin - q * (m - before);
        (f > 0.0 ? high : low) = u;
        double next = u - f / (1.0 + q * m * (1.0 - m));
        if (next <= low || next >= high || std::fabs(next - u) > 0.5 * last) next = 0.5 * (low + high);
        last = std::fabs(next - u);
        u = next;
        if (last < 1e-6 * (1.0 + std::fabs(u))) break;
    }
    const double e = std::exp(-std::fabs(u)), m = u >= 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
    const float now = static_cast<float>(sign * m);
    const double moved = static_cast<double>(now) - held;
    if (std::fabs(moved) < static_cast<double>(UNCHANGED) * m) return;
    left_[i] = now;
    const float change = static_cast<float>(s * moved / l2_);
    scatter(x, &change);
    bias[0] += s * moved * pull / l2_;
}

void DualAscent::row(Index i, double* bias, double pull) {
    const int outputs = y_.outputs(), own = y_.label[i];
    const Row x = at(i, room_.data());
    std::fill(z_.begin(), z_.end(), 0.0f);
    gather(x, z_.data());
    for (int k = 0; k < outputs; ++k)
        z_[k] = pull > 0.0 && !met_[k] ? NOWHERE : static_cast<float>(static_cast<double>(z_[k]) + bias[k]);
    std::fill(z_.begin() + outputs, z_.end(), NOWHERE);
    float* left = &left_[i * width_];
    for (int k = 0; k < outputs; ++k) a_[k] = k == own ? left[k] : -left[k];
    const double s = weight(i);
    DualRow r{outputs,     static_cast<int>(z_.size()),
              own,         z_.data(),
              a_.data(),   change_.data(),
              log_.data(), s * (static_cast<double>(square_[i]) + pull) / l2_,
              UNCHANGED,   0.0,
              0.0,         false};
    kernels().dual_row(r);
    loss_[i] = static_cast<float>(s * r.loss);
    divergence_[i] = static_cast<float>(s * std::max(r.divergence, 0.0));
    if (!r.moved) return;
    for (int k = 0; k < outputs; ++k) {
        left[k] = k == own ? a_[k] : -a_[k];
        change_[k] = static_cast<float>(s / l2_ * static_cast<double>(change_[k]));
        bias[k] += pull * static_cast<double>(change_[k]);
    }
    scatter(x, change_.data());
}

void DualAscent::residual(double* out) const {
    const int outputs = y_.outputs();
    for (Index i = 0; i < rows_; ++i) {
        double others = 0.0;  // a row of more than two classes sums to 0, whatever rounding to float32 has left
        for (int k = 0; k < outputs; ++k) {
            const double r = -weight(i) * static_cast<double>(left_[i * width_ + k]);
            out[k * rows_ + i] = r;
            if (k != y_.label[i]) others += r;
        }
        if (outputs > 1) out[y_.label[i] * rows_ + i] = -others;
    }
}

void DualAscent::take(const double* residual) {
    const int outputs = y_.outputs();
    std::fill(weights_.begin(), weights_.end(), 0.0f);
    std::fill(left_.begin(), left_.end(), 0.0f);
    std::fill(change_.begin(), change_.end(), 0.0f);
    for (const std::int32_t i : order_) {
        for (int k = 0; k < outputs; ++k) {
            const double r = -residual[k * rows_ + i];
            left_[i * width_ + k] = static_cast<float>(r / weight(i));
            change_[k] = static_cast<float>(r / l2_);
        }
        scatter(at(i, room_.data()), change_.data());
    }
}

double DualAscent::square() const {
    double sum = 0.0;
    for (const float w : weights_) sum += static_cast<double>(w) * static_cast<double>(w);
    return sum;
}

void DualAscent::logits(const double* bias, double* out, int threads) const {
    const int outputs = y_.outputs();
    parallel_for((rows_ + BLOCK - 1) / BLOCK, threads, [&](Index block) {
        std::vector<float> z(static_cast<std::size_t>(width_)), room(room_.size());
        for (Index i = block * BLOCK; i < std::min(rows_, (block + 1) * BLOCK); ++i) {
            std::fill(z.begin(), z.end(), 0.0f);
            gather(at(i, room.data()), z.data());
            for (int k = 0; k < outputs; ++k) out[k * rows_ + i] = static_cast<double>(z[k]) + bias[k];
        }
    });
}

}  // namespace luce
