#include "dual_ascent.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"

namespace luce {

namespace {

constexpr Index BLOCK = 512;        // rows that a thread takes at a time
constexpr float UNCHANGED = 1e-6f;  // a row whose distribution would change by less is left as it is
constexpr float NOWHERE = -1e30f;   // the logit of no class
constexpr int MOST_STEPS = 40;      // with two classes
constexpr double PULL = 0.0625;     // of the mean square of a row: the square of the number in the bias's column
constexpr double RESTLESS = 4.0;    // times the mean divergence: such rows are looked at again
constexpr int MOST_ROUNDS = 8;
constexpr double NEWTON = 1e-3;  // after so short a step of Newton's its square is left, less than a float tells
// How far the rows are at the end of a run is told by one in so many, or so many, with chances as they were met.
constexpr std::size_t SAMPLED_PART = 16, LEAST_SAMPLED = 512;
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

DualAscent::DualAscent(const Features& x, const Targets& y, double l2, const double* alone)
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
    facts_.resize(static_cast<std::size_t>(rows_));
    met_.assign(static_cast<std::size_t>(std::max(outputs, 2)), false);
    for (Index i = 0; i < rows_; ++i) {
        if (alone != nullptr) facts_[i].alone = static_cast<float>(alone[i]);
        double sum = static_cast<double>(facts_[i].alone);
        const Row row = at(i, room_.data());
        for (Index e = 0; e < row.count; ++e)
            sum += static_cast<double>(row.values[e]) * static_cast<double>(row.values[e]);
        facts_[i].square = static_cast<float>(sum);
        if (weight(i) > 0.0) {
            order_.push_back(static_cast<std::int32_t>(i));
            met_[y.label[i]] = true;
        }
    }
    double squares = 0.0;
    for (const Facts& row : facts_) squares += static_cast<double>(row.square);
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
    __builtin_prefetch(&facts_[i], 1);
    __builtin_prefetch(y_.label + i);
    if (y_.weight != nullptr) __builtin_prefetch(y_.weight + i);
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

template <class Body>
void DualAscent::each(const std::vector<std::int32_t>& rows, const Body& body) {
    for (std::size_t n = 0; n < rows.size(); ++n) {
        if (n + LATER < rows.size()) bring_facts(rows[n + LATER]);
        if (n + SOON < rows.size()) bring(rows[n + SOON]);
        if (n + NEXT < rows.size()) bring_weights(rows[n + NEXT]);
        body(rows[n], at(rows[n], room_.data()));
    }
}

void DualAscent::visit(const std::vector<std::int32_t>& rows, double* bias, double pull) {
    each(rows, [&](Index i, const Row& x) {
        if (y_.outputs() == 1)
            row_of_two(i, x, bias, pull);
        else
            row(i, x, bias, pull);
    });
}

double DualAscent::divergence(const double* bias, double pull) {
    double met = 0.0;
    for (const Facts& row : facts_) met += static_cast<double>(row.divergence);
    if (!std::isfinite(met)) return met;
    const std::size_t all = order_.size(), count = std::max(all / SAMPLED_PART, LEAST_SAMPLED);
    const double mean = met / static_cast<double>(std::max<std::size_t>(all, 1));
    const double apart = count < all ? 2.0 * met / static_cast<double>(count) : 0.0;  // of so much one row is drawn
    std::vector<std::int32_t> some;
    std::vector<double> times;  // rows that each of them stands for
    double drawn = 0.5 * apart, passed = 0.0;
    for (const std::int32_t i : order_) {
        const double of = static_cast<double>(facts_[i].divergence) + mean;
        passed += of;
        if (passed < drawn) continue;
        some.push_back(i);
        times.push_back(apart > of ? apart / of : 1.0);
        while (apart > 0.0 && drawn <= passed) drawn += apart;
    }
    double sum = 0.0;
    std::size_t n = 0;
    each(some, [&](Index i, const Row& x) {
        const double stands = weight(i) * times[n++];
        if (y_.outputs() == 1) {
            sum += stands * std::max(look_at_two(i, x, bias).divergence, 0.0);
            return;
        }
        DualRow r = look(i, x, bias, pull);
        r.unchanged = 2.0f;
        kernels().dual_row(r);
        sum += stands * std::max(r.divergence, 0.0);
    });
    return sum;
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
        for (Index i = 0; i < rows_; ++i)
            for (int k = 0; k < outputs; ++k) left[k] += weight(i) * static_cast<double>(left_[i * width_ + k]);
        for (int k = 0; k < outputs; ++k) bias[k] += pull / l2_ * left[k];
    }
    visit(order_, bias, pull);
    std::vector<std::int32_t> restless;
    std::size_t visits = 0;
    for (int round = 0; round < MOST_ROUNDS && visits < order_.size() / 4; ++round) {
        double all = 0.0;
        for (const Facts& row : facts_) all += static_cast<double>(row.divergence);
        const double bound = RESTLESS * all / static_cast<double>(order_.size());
        restless.clear();
        for (const std::int32_t i : order_)
            if (static_cast<double>(facts_[i].divergence) > bound) restless.push_back(i);
        visit(restless, bias, pull);
        visits += restless.size();
        if (restless.empty()) break;
    }
    for (const Facts& row : facts_) met.loss += static_cast<double>(row.loss);
    met.divergence = divergence(bias, pull);
    return met;
}

DualAscent::Look DualAscent::look_at_two(Index i, const Row& x, const double* bias) const {
    float sum = 0.0f;
    gather(x, &sum);
    Look seen;
    seen.sign = y_.label[i] == 1 ? 1.0 : -1.0;
    seen.margin = seen.sign * (static_cast<double>(sum) + of_alone(i, 0) + bias[0]);
    seen.before = seen.sign * static_cast<double>(left_[i]);
    seen.loss = std::log1p(std::exp(-std::fabs(seen.margin))) - std::min(seen.margin, 0.0);
    // KL(a || p) = loss of y under p, with entropy: (1 - m) ln((1 - m) / p_y) + m ln(m / (1 - p_y))
    if (seen.before < 1.0) seen.divergence = (1.0 - seen.before) * (std::log1p(-seen.before) + seen.loss);
    if (seen.before > 0.0) seen.divergence += seen.before * (std::log(seen.before) + seen.loss + seen.margin);
    return seen;
}

void DualAscent::row_of_two(Index i, const Row& x, double* bias, double pull) {
    const Look seen = look_at_two(i, x, bias);
    const double s = weight(i), sign = seen.sign, margin = seen.margin, before = seen.before;
    facts_[i].loss = static_cast<float>(s * seen.loss);
    facts_[i].divergence = static_cast<float>(s * std::max(seen.divergence, 0.0));
    // m = |y - a| wants  -ln(m / (1 - m)) = margin - q (m - before), as the weights move with m
    const double q = s * (static_cast<double>(facts_[i].square) + pull) / l2_;
    // u = ln((1 - m) / m): u = margin + q (m(u) - before), m falling in u
    double u = margin, low = margin - q * before, high = margin + q * (1.0 - before), last = high - low;
    for (int step = 0; step < MOST_STEPS; ++step) {
        const double e = std::exp(-std::fabs(u)), m = u >= 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
        const double f = u - margin - q * (m - before);
        (f > 0.0 ? high : low) = u;
        double next = u - f / (1.0 + q * m * (1.0 - m));
        const bool halved = next <= low || next >= high || std::fabs(next - u) > 0.5 * last;
        if (halved) next = 0.5 * (low + high);
        last = std::fabs(next - u);
        u = next;
        if (last < (halved ? 1e-6 : NEWTON) * (1.0 + std::fabs(u))) break;
    }
    const double e = std::exp(-std::fabs(u)), m = u >= 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
    const float now = static_cast<float>(sign * m);
    const double moved = static_cast<double>(now) - sign * before;
    if (std::fabs(moved) < static_cast<double>(UNCHANGED) * m) return;
    left_[i] = now;
    const float change = static_cast<float>(s * moved / l2_);
    scatter(x, &change);
    bias[0] += s * moved * pull / l2_;
}

DualRow DualAscent::look(Index i, const Row& x, const double* bias, double pull) {
    const int outputs = y_.outputs(), own = y_.label[i];
    std::fill(z_.begin(), z_.end(), 0.0f);
    gather(x, z_.data());
    for (int k = 0; k < outputs; ++k)
        z_[k] = pull > 0.0 && !met_[k] ? NOWHERE
                                       : static_cast<float>(static_cast<double>(z_[k]) + of_alone(i, k) + bias[k]);
    std::fill(z_.begin() + outputs, z_.end(), NOWHERE);
    const float* left = &left_[i * width_];
    for (int k = 0; k < outputs; ++k) a_[k] = k == own ? left[k] : -left[k];
    return {outputs,     static_cast<int>(z_.size()),
            own,         z_.data(),
            a_.data(),   change_.data(),
            log_.data(), weight(i) * (static_cast<double>(facts_[i].square) + pull) / l2_,
            UNCHANGED,   0.0,
            0.0,         false};
}

void DualAscent::row(Index i, const Row& x, double* bias, double pull) {
    const int outputs = y_.outputs(), own = y_.label[i];
    const double s = weight(i);
    float* left = &left_[i * width_];
    DualRow r = look(i, x, bias, pull);
    kernels().dual_row(r);
    facts_[i].loss = static_cast<float>(s * r.loss);
    facts_[i].divergence = static_cast<float>(s * std::max(r.divergence, 0.0));
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
    for (Index i = 0; i < rows_; ++i)
        for (int k = 0; k < y_.outputs(); ++k)
            sum += of_alone(i, k) * weight(i) * static_cast<double>(left_[i * width_ + k]) / l2_;
    return sum;
}

void DualAscent::logits(const double* bias, double* out, int threads) const {
    const int outputs = y_.outputs();
    parallel_for((rows_ + BLOCK - 1) / BLOCK, threads, [&](Index block) {
        std::vector<float> z(static_cast<std::size_t>(width_)), room(room_.size());
        for (Index i = block * BLOCK; i < std::min(rows_, (block + 1) * BLOCK); ++i) {
            std::fill(z.begin(), z.end(), 0.0f);
            gather(at(i, room.data()), z.data());
            for (int k = 0; k < outputs; ++k) out[k * rows_ + i] = static_cast<double>(z[k]) + of_alone(i, k) + bias[k];
        }
    });
}

}  // namespace luce
