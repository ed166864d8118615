#include "network.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <new>
#include <thread>

#include "kernels.h"
#include "parallel.h"

namespace luce {

namespace {

constexpr Index ROWS = 24;      // of a batch that a thread takes at a time, at most
constexpr Index EVEN = 6;       // rows are taken in multiples of it, as products are made for so many at once
constexpr Index FEATURES = 96;  // whose weights to a panel a thread takes at a time
constexpr double FIRST = 0.9, SECOND = 0.999, LEAST = 1e-8;
constexpr Index GRADIENT_BATCH = 240;
constexpr std::chrono::milliseconds LOOK{20};  // at most so long, and a block, it does not hear that it is to stop
constexpr double FARTHEST = 1e9;  // spreads from the mean: farther out a row counts as there, and sums stay finite

Index padded(Index n) { return (n + UNITS - 1) / UNITS * UNITS; }

std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// Zeros to begin with, aligned to a cache line.
class Numbers {
public:
    explicit Numbers(Index size = 0) { resize(size); }
    void resize(Index size) {
        data_.reset(static_cast<float*>(
            ::operator new(static_cast<std::size_t>(std::max(size, Index{1})) * sizeof(float), std::align_val_t(64))));
        size_ = size;
        std::fill(data_.get(), data_.get() + size, 0.0f);
    }
    float* at(Index i) { return data_.get() + i; }
    const float* at(Index i) const { return data_.get() + i; }
    Index size() const { return size_; }

private:
    struct Free {
        void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
    };
    std::unique_ptr<float, Free> data_;
    Index size_ = 0;
};

// Weights with the running means of their gradient and its square.
struct Learned {
    Numbers value, mean, square;
    explicit Learned(Index size) : value(size), mean(size), square(size) {}
    void forget() {
        mean.resize(mean.size());
        square.resize(square.size());
    }
    const Numbers& kept(Kept which) const { return which == Kept::value ? value : which == Kept::mean ? mean : square; }
    Numbers& kept(Kept which) { return which == Kept::value ? value : which == Kept::mean ? mean : square; }
};

}  // namespace

class Watch {
public:
    explicit Watch(const Stop& stop) : stop_(stop), asks_(std::this_thread::get_id()), asked_(Clock::now()) {}
    // Called by all threads, before each block.
    bool over() {
        if (std::this_thread::get_id() == asks_ && !over_.load(std::memory_order_relaxed)) {
            const Clock::time_point now = Clock::now();
            if (now - asked_ >= LOOK) {
                asked_ = now;
                over_ = stop_();
            }
        }
        return over_.load(std::memory_order_relaxed);
    }

private:
    using Clock = std::chrono::steady_clock;
    const Stop& stop_;
    const std::thread::id asks_;
    Clock::time_point asked_;
    std::atomic<bool> over_{false};
};

struct Network::Layer {
    Index in, sparse, out, width;  // width: out, padded
    Learned dense;                 // panels x in x UNITS
    Learned rows;                  // sparse x width
    Learned bias;                  // width
    Numbers turned;                // of a layer on hidden units: panels of in x out x UNITS
    Layer(Index dense_in, Index sparse_in, Index outputs, bool on_hidden)
        : in(dense_in),
          sparse(sparse_in),
          out(outputs),
          width(padded(outputs)),
          dense(width * dense_in),
          rows(sparse_in * width),
          bias(width),
          turned(on_hidden ? padded(dense_in) * outputs : 0) {}
    Index panels() const { return width / UNITS; }
    // of the weight from dense input j to output k
    Index place(Index j, Index k) const { return (k / UNITS * in + j) * UNITS + k % UNITS; }
    float* panel(Index p) { return dense.value.at(p * in * UNITS); }
    const float* panel(Index p) const { return dense.value.at(p * in * UNITS); }
    void turn(Index p, Index first, Index end) {
        if (turned.size() == 0) return;
        const Index count = std::min(UNITS + Index{0}, out - p * UNITS);
        for (Index j = first; j < end; ++j)
            for (Index c = 0; c < count; ++c)
                *turned.at((j / UNITS * out + p * UNITS + c) * UNITS + j % UNITS) = panel(p)[j * UNITS + c];
    }
};

struct Network::Batch {
    const Features& x;
    const Scaling& scaling;
    const Targets* y;  // nullptr: logits alone
    const Index* order = nullptr;
    Index first = 0, count = 0;  // rows order[first] .., or first .. without an order
    bool learns = false;
    std::vector<Index> wide;              // numbers from one row to the next, of each layer's values
    std::vector<Numbers> a, slope, back;  // a[0]: the dense columns; a[l + 1], slope, back: of layer l
    std::vector<double> loss;
    std::vector<std::int32_t> entries, slots;  // the sparse cells of the rows
    std::vector<float> values;
    std::vector<Index> starts;
    std::vector<std::int32_t> columns;  // those that the batch has

    Batch(const Features& features, const Scaling& how, const Targets* targets, const Index* rows, Index most,
          bool train, const Network& n)
        : x(features), scaling(how), y(targets), order(rows), learns(train), loss(static_cast<std::size_t>(most)) {
        const auto add = [&](std::vector<Numbers>& to, Index columns) { to.emplace_back(most * columns); };
        wide.push_back(padded(n.shape_.dense) + UNITS);
        add(a, wide[0]);
        for (const auto& layer : n.layers_) {
            wide.push_back(layer->width + UNITS);  // an odd number of cache lines: rows do not fall on each other
            add(a, wide.back());
            add(slope, train ? wide.back() : 0);
            add(back, train ? wide.back() : 0);
        }
    }
    Index row(Index i) const { return order == nullptr ? first + i : order[first + i]; }
};

Network::Network(const NetworkShape& shape) : shape_(shape), slot_(static_cast<std::size_t>(shape.sparse), -1) {
    Index in = shape.dense, sparse = shape.sparse;
    for (const Index units : shape.hidden) {
        layers_.push_back(std::make_unique<Layer>(in, sparse, units, !layers_.empty()));
        in = units, sparse = 0;
    }
    layers_.push_back(std::make_unique<Layer>(in, sparse, shape.outputs(), !layers_.empty()));
}

Network::~Network() = default;

Index Network::inputs(int layer) const { return layers_[layer]->in + layers_[layer]->sparse; }
Index Network::outputs(int layer) const { return layers_[layer]->out; }

Index Network::parameters() const {
    Index sum = 0;
    for (const auto& l : layers_) sum += (l->in + l->sparse + 1) * l->out;
    return sum;
}

void Network::get(int layer, Kept kept, float* weights, float* bias) const {
    const Layer& l = *layers_[layer];
    const Numbers &dense = l.dense.kept(kept), &rows = l.rows.kept(kept), &own = l.bias.kept(kept);
    for (Index j = 0; j < l.in; ++j)
        for (Index k = 0; k < l.out; ++k) weights[j * l.out + k] = *dense.at(l.place(j, k));
    for (Index j = 0; j < l.sparse; ++j)
        for (Index k = 0; k < l.out; ++k) weights[(l.in + j) * l.out + k] = *rows.at(j * l.width + k);
    std::copy(own.at(0), own.at(l.out), bias);
}

void Network::set(int layer, Kept kept, const float* weights, const float* bias) {
    Layer& l = *layers_[layer];
    Numbers &dense = l.dense.kept(kept), &rows = l.rows.kept(kept), &own = l.bias.kept(kept);
    for (Index j = 0; j < l.in; ++j)
        for (Index k = 0; k < l.out; ++k) *dense.at(l.place(j, k)) = weights[j * l.out + k];
    for (Index j = 0; j < l.sparse; ++j)
        for (Index k = 0; k < l.out; ++k) *rows.at(j * l.width + k) = weights[(l.in + j) * l.out + k];
    std::copy(bias, bias + l.out, own.at(0));
    if (kept != Kept::value) return;
    for (Index p = 0; p < l.panels(); ++p) l.turn(p, 0, l.in);
    for (Learned* learned : {&l.dense, &l.rows, &l.bias}) learned->forget();
    steps_ = 0;
}

void Network::load(Batch& b, Index first, Index end) const {
    const double *shift = b.scaling.shift, *scale = b.scaling.scale;
    const auto rows_of = [&](const auto& view, const auto* scaled_row) {
        if (view.columns == 0) return;
        for (Index i = first; i < end; ++i) {
            const auto* from = view.data + b.row(i) * view.row_stride;
            float* to = b.a[0].at(i * b.wide[0]);
            if constexpr (!std::is_same_v<decltype(scaled_row), const std::nullptr_t*>) {
                if (view.column_stride == 1) {
                    (*scaled_row)(from, shift, scale, view.columns, FARTHEST, to);
                    continue;
                }
            }
            for (Index j = 0; j < view.columns; ++j)
                to[j] = static_cast<float>(std::clamp(
                    (static_cast<double>(from[j * view.column_stride]) - shift[j]) * scale[j], -FARTHEST, FARTHEST));
        }
    };
    const std::nullptr_t* none = nullptr;
    rows_of(b.x.dense8, &kernels().scaled8);
    rows_of(b.x.dense16, none);
    rows_of(b.x.dense32, &kernels().scaled32);
    rows_of(b.x.dense64, none);
    if (shape_.sparse == 0) return;
    const Csr& s = b.x.sparse;
    for (Index i = first; i < end; ++i) {
        Index to = b.starts[i];
        for (Index e = s.starts[b.row(i)]; e < s.starts[b.row(i) + 1]; ++e, ++to) {
            b.entries[to] = s.indices[e];
            b.values[to] =
                static_cast<float>(std::clamp(s.value(e) * scale[shape_.dense + s.indices[e]], -FARTHEST, FARTHEST));
        }
    }
}

void Network::forward(Batch& b, Index first, Index end, const Training* how, std::uint64_t step) const {
    const Kernels& k = kernels();
    for (std::size_t n = 0; n < layers_.size(); ++n) {
        const Layer& l = *layers_[n];
        const Index from = b.wide[n], to = b.wide[n + 1];
        for (Index p = 0; p < l.panels(); ++p)
            k.panel(b.a[n].at(first * from), from, 1, end - first, l.in, l.panel(p), UNITS, l.bias.value.at(p * UNITS),
                    b.a[n + 1].at(first * to + p * UNITS), to);
        if (l.sparse > 0)
            for (Index i = first; i < end; ++i)
                k.gather(b.entries.data() + b.starts[i], b.values.data() + b.starts[i], b.starts[i + 1] - b.starts[i],
                         l.rows.value.at(0), l.width, b.a[n + 1].at(i * to));
        if (n + 1 == layers_.size()) break;
        for (Index i = first; i < end; ++i) {
            const std::uint64_t key =
                how == nullptr ? 0 : mixed(mixed(how->seed ^ step) + static_cast<std::uint64_t>(i) * 64 + n);
            k.activate(b.a[n + 1].at(i * to), b.learns ? b.slope[n].at(i * to) : nullptr, static_cast<int>(l.width),
                       shape_.gelu, how == nullptr ? 0.0f : static_cast<float>(how->dropout),
                       static_cast<std::uint32_t>(key));
        }
    }
}

void Network::backward(Batch& b, Index first, Index end) const {
    const Kernels& k = kernels();
    const int last = layers() - 1;
    const Index wide = b.wide[layers_.size()];
    const float share = 1.0f / static_cast<float>(b.count);
    for (Index i = first; i < end; ++i) {
        const Index row = b.row(i);
        const float weight = share * (b.y->weight == nullptr ? 1.0f : static_cast<float>(b.y->weight[row]));
        b.loss[i] = k.output_row(b.a[layers_.size()].at(i * wide), shape_.outputs(), b.y->label[row], weight,
                                 b.back[last].at(i * wide));
    }
    for (int n = last; n > 0; --n) {
        const Layer& l = *layers_[n];
        const Index from = b.wide[n + 1], to = b.wide[n];
        for (Index p = 0; p < padded(l.in) / UNITS; ++p)
            k.panel(b.back[n].at(first * from), from, 1, end - first, l.out, l.turned.at(p * l.out * UNITS), UNITS,
                    nullptr, b.back[n - 1].at(first * to + p * UNITS), to);
        for (Index i = first; i < end; ++i) {
            float* back = b.back[n - 1].at(i * to);
            const float* slope = b.slope[n - 1].at(i * to);
            for (Index u = 0; u < layers_[n - 1]->width; ++u) back[u] *= slope[u];
        }
    }
}

// take(layer, part, place, gradient, count): the gradient of so many numbers of the dense weights (part 0), of the rows
// of sparse columns (1; place a row's) or of the bias (2), from a place on.
template <class Take>
double Network::run(Batch& b, const Training& how, std::uint64_t step, int threads, Watch& watch, const Take& take) {
    if (shape_.sparse > 0) {
        b.starts.assign(1, 0);
        for (Index i = 0; i < b.count; ++i)
            b.starts.push_back(b.starts.back() + b.x.sparse.starts[b.row(i) + 1] - b.x.sparse.starts[b.row(i)]);
        b.entries.resize(static_cast<std::size_t>(b.starts.back()));
        b.values.resize(b.entries.size());
    }
    const Index blocks = (b.count + ROWS * threads - 1) / (ROWS * threads) * threads;  // as many for each thread
    const Index rows = ((b.count + blocks - 1) / blocks + EVEN - 1) / EVEN * EVEN;
    parallel_for((b.count + rows - 1) / rows, threads, [&](Index block) {
        if (watch.over()) return;
        const Index first = block * rows, end = std::min(b.count, first + rows);
        load(b, first, end);
        forward(b, first, end, &how, step);
        backward(b, first, end);
    });
    double loss = 0.0;
    for (Index i = 0; i < b.count; ++i) loss += b.loss[i];

    struct Task {
        int layer;
        Index panel, first, end;  // first -1: the bias, -2: the sparse columns
    };
    std::vector<Task> tasks;
    for (int n = 0; n < layers(); ++n) {
        const Index panels = layers_[n]->panels();
        for (Index j = 0; j < layers_[n]->in; j += FEATURES)  // for all panels while they are near
            for (Index p = 0; p < panels; ++p) tasks.push_back({n, p, j, std::min(layers_[n]->in, j + FEATURES)});
        for (Index p = 0; p < panels; ++p) {
            tasks.push_back({n, p, -1, 0});
            if (layers_[n]->sparse > 0) tasks.push_back({n, p, -2, 0});
        }
    }
    Numbers sums;
    if (shape_.sparse > 0) {
        b.columns.clear();
        b.slots.resize(b.entries.size());
        for (std::size_t e = 0; e < b.entries.size(); ++e) {
            std::int32_t& slot = slot_[b.entries[e]];
            if (slot < 0) {
                slot = static_cast<std::int32_t>(b.columns.size());
                b.columns.push_back(b.entries[e]);
            }
            b.slots[e] = slot;
        }
        sums.resize(static_cast<Index>(b.columns.size()) * layers_[0]->width);
    }
    parallel_for(static_cast<Index>(tasks.size()), threads, [&](Index t) {
        if (watch.over()) return;
        const auto [n, p, first, end] = tasks[t];
        const Index wide = b.wide[n + 1];
        const float* back = b.back[n].at(p * UNITS);
        alignas(64) float gradient[FEATURES * UNITS];
        if (first >= 0) {
            kernels().panel(b.a[n].at(first), 1, b.wide[n], end - first, b.count, back, wide, nullptr, gradient, UNITS);
            take(n, 0, (p * layers_[n]->in + first) * UNITS, gradient, (end - first) * UNITS);
            return;
        }
        if (first == -1) {
            std::fill(gradient, gradient + UNITS, 0.0f);
            for (Index i = 0; i < b.count; ++i)
                for (Index c = 0; c < UNITS; ++c) gradient[c] += back[i * wide + c];
            take(n, 2, p * UNITS, gradient, Index{UNITS});
            return;
        }
        const Index width = layers_[n]->width;
        for (Index i = 0; i < b.count; ++i)
            for (Index e = b.starts[i]; e < b.starts[i + 1]; ++e) {
                float* to = sums.at(b.slots[e] * width + p * UNITS);
                for (Index c = 0; c < UNITS; ++c) to[c] += b.values[e] * back[i * wide + c];
            }
        for (std::size_t u = 0; u < b.columns.size(); ++u)
            take(n, 1, b.columns[u] * width + p * UNITS, sums.at(static_cast<Index>(u) * width + p * UNITS),
                 Index{UNITS});
    });
    for (const std::int32_t column : b.columns) slot_[column] = -1;
    return loss;
}

double Network::epoch(const Features& x, const Scaling& scaling, const Targets& y, const Index* order, Index count,
                      const Training& how, int threads, const Stop& stop) {
    Batch b(x, scaling, &y, order, std::min(how.batch, count), true, *this);
    double loss = 0.0;
    Watch watch(stop);
    for (Index first = 0; first < count && !watch.over(); first += how.batch) {
        b.first = first;
        b.count = std::min(how.batch, count - first);
        ++steps_;
        const double t = static_cast<double>(steps_);
        AdamStep step{static_cast<float>(how.rate),
                      static_cast<float>(FIRST),
                      static_cast<float>(SECOND),
                      static_cast<float>(1.0 / (1.0 - std::pow(FIRST, t))),
                      static_cast<float>(1.0 / (1.0 - std::pow(SECOND, t))),
                      static_cast<float>(LEAST),
                      0.0f};
        const auto take = [&](int n, int part, Index place, const float* gradient, Index size) {
            Layer& l = *layers_[n];
            Learned& learned = part == 0 ? l.dense : part == 1 ? l.rows : l.bias;
            AdamStep own = step;
            own.decay = part == 2 ? 0.0f : static_cast<float>(how.decay);
            kernels().adam(learned.value.at(place), learned.mean.at(place), learned.square.at(place), gradient, size,
                           own);
            if (part == 0) {
                const Index p = place / (l.in * UNITS), j = place / UNITS - p * l.in;
                l.turn(p, j, j + size / UNITS);
            }
        };
        loss += static_cast<double>(b.count) * run(b, how, steps_, threads, watch, take);
    }
    return loss;
}

double Network::gradient(const Features& x, const Scaling& scaling, const Targets& y, const Index* order, Index count,
                         double* out, int threads, const Stop& stop) {
    std::fill(out, out + parameters(), 0.0);
    Batch b(x, scaling, &y, order, std::min(GRADIENT_BATCH, count), true, *this);
    double loss = 0.0;
    std::vector<Index> begin;
    Index at = 0;
    for (const auto& l : layers_) {
        begin.push_back(at);
        at += (l->in + l->sparse + 1) * l->out;
    }
    Watch watch(stop);
    for (b.first = 0; b.first < count && !watch.over(); b.first += GRADIENT_BATCH) {
        b.count = std::min(GRADIENT_BATCH, count - b.first);
        const double rows = static_cast<double>(b.count);
        const auto take = [&](int n, int part, Index place, const float* gradient, Index size) {
            const Layer& l = *layers_[n];
            double* own = out + begin[n];
            for (Index i = 0; i < size; ++i) {
                Index j = l.in + l.sparse, k = place + i;  // of the bias
                if (part == 0) k = place / (l.in * UNITS) * UNITS + i % UNITS, j = (place + i) / UNITS % l.in;
                if (part == 1) k = (place + i) % l.width, j = l.in + place / l.width;
                if (k < l.out) own[j * l.out + k] += rows * static_cast<double>(gradient[i]);
            }
        };
        loss += rows * run(b, Training{}, 0, threads, watch, take);
    }
    return loss;
}

void Network::logits(const Features& x, const Scaling& scaling, double* out, int threads, const Stop& stop) const {
    const Index outputs = shape_.outputs(), blocks = (x.rows + ROWS - 1) / ROWS;
    Watch watch(stop);
    parallel_for(blocks, threads, [&](Index block) {
        if (watch.over()) return;
        Batch b(x, scaling, nullptr, nullptr, ROWS, false, *this);
        b.first = block * ROWS;
        b.count = std::min(ROWS, x.rows - b.first);
        if (shape_.sparse > 0) {
            b.starts.assign(1, 0);
            for (Index i = 0; i < b.count; ++i)
                b.starts.push_back(b.starts.back() + x.sparse.starts[b.row(i) + 1] - x.sparse.starts[b.row(i)]);
            b.entries.resize(static_cast<std::size_t>(b.starts.back()));
            b.values.resize(b.entries.size());
        }
        load(b, 0, b.count);
        forward(b, 0, b.count, nullptr, 0);
        for (Index i = 0; i < b.count; ++i)
            for (Index k = 0; k < outputs; ++k)
                out[(b.first + i) * outputs + k] =
                    static_cast<double>(*b.a[layers_.size()].at(i * b.wide[layers_.size()] + k));
    });
}

}  // namespace luce
