#include "dense_part.h"

#include <algorithm>

namespace luce {
namespace {

// Columns from which on rows are worked as they lie. With AVX2 that is faster from about 12 on where nothing has to be
// copied, and from 32 on, for any number of classes, where float32 is copied to double first.
constexpr Index WIDE = 32;

bool is_wide(const Features& x) { return x.dense_columns >= WIDE; }

template <class S>
Index padded(Index columns) {
    return (columns + ROW_STEP<S> - 1) / ROW_STEP<S> * ROW_STEP<S>;
}

class Turned : public DensePart {
public:
    Turned(const Features& x, int outputs, const double* weights)
        : x_(x), weights_(weights), outputs_(outputs), tile_(x.dense_columns * TILE) {}

    void load(Index tile, int rows) override {
        const Kernels& k = kernels();
        if (x_.dense8.data != nullptr) k.load8(x_.dense8, tile * TILE, rows, tile_.data());
        if (x_.dense16.data != nullptr) k.load16(x_.dense16, tile * TILE, rows, tile_.data());
        if (x_.dense32.data != nullptr) k.load32(x_.dense32, tile * TILE, rows, tile_.data());
        if (x_.dense64.data != nullptr) k.load64(x_.dense64, tile * TILE, rows, tile_.data());
    }
    void forward(const double* bias, double* z) override {
        kernels().forward(tile_.data(), x_.dense_columns, weights_, bias, outputs_, z);
    }
    void backward(const double* residual) override {
        lanes_.resize(x_.dense_columns * outputs_ * LANES);
        kernels().backward(tile_.data(), x_.dense_columns, residual, outputs_, lanes_.data());
    }
    void gradient(double* out) const override {
        for (std::size_t i = 0; i < lanes_.size() / LANES; ++i) out[i] = total(&lanes_[i * LANES]);
    }

private:
    const Features& x_;
    const double* weights_;
    int outputs_;
    std::vector<double> tile_, lanes_;  // the sums keep LANES partial sums each
};

// The view that a tile of S can be read from as it lies, or nullptr.
template <class S>
const View<S>* as_it_lies(const Features& x) {
    if constexpr (sizeof(S) == sizeof(float))
        return x.dense32.data != nullptr && x.dense32.column_stride == 1 ? &x.dense32 : nullptr;
    else
        return x.dense64.data != nullptr && x.dense64.column_stride == 1 ? &x.dense64 : nullptr;
}

template <class S>
class AsRows : public DensePart {
public:
    AsRows(const Features& x, int outputs, const S* weights)
        : x_(x),
          view_(as_it_lies<S>(x)),
          weights_(weights),
          outputs_(outputs),
          stride_(padded<S>(x.dense_columns)),
          buffer_(TILE * (view_ != nullptr ? ROW_STEP<S> : stride_)) {}

    void load(Index tile, int count) override {
        const Index first = tile * TILE;
        if (view_ != nullptr)
            rows_ = k_.in_place(*view_, first, count, buffer_.data());
        else if (x_.dense8.data != nullptr)
            rows_ = k_.copy8(x_.dense8, first, count, stride_, buffer_.data());
        else if (x_.dense16.data != nullptr)
            rows_ = k_.copy16(x_.dense16, first, count, stride_, buffer_.data());
        else if (x_.dense32.data != nullptr)
            rows_ = k_.copy32(x_.dense32, first, count, stride_, buffer_.data());
        else
            rows_ = k_.copy64(x_.dense64, first, count, stride_, buffer_.data());
    }
    void forward(const double* bias, double* z) override { k_.forward(rows_, weights_, stride_, bias, outputs_, z); }
    void backward(const double* residual) override {
        narrow_.resize(outputs_ * TILE);
        sums_.resize(outputs_ * stride_);
        if (weights_ == nullptr && view_ != nullptr) k_.bring(rows_);
        k_.backward(rows_, residual, outputs_, narrow_.data(), sums_.data(), stride_);
    }
    void gradient(double* out) const override {
        for (Index j = 0; j < x_.dense_columns; ++j)
            for (int k = 0; k < outputs_; ++k) out[j * outputs_ + k] = sums_[k * stride_ + j];
    }

private:
    static const RowKernels<S>& table() {
        if constexpr (sizeof(S) == sizeof(float))
            return kernels().rows32;
        else
            return kernels().rows64;
    }

    const RowKernels<S>& k_ = table();
    const Features& x_;
    const View<S>* view_;
    const S* weights_;
    int outputs_;
    Index stride_;
    Rows<S> rows_{};
    std::vector<S> buffer_, narrow_;
    std::vector<double> sums_;
};

template <class S>
std::vector<S> by_class(const double* weights, Index columns, int outputs) {
    const Index stride = padded<S>(columns);
    std::vector<S> out(outputs * stride);
    for (Index j = 0; j < columns; ++j)
        for (int k = 0; k < outputs; ++k) out[k * stride + j] = static_cast<S>(weights[j * outputs + k]);
    return out;
}

}  // namespace

bool can_be_single(const Features& x) { return is_wide(x) && x.dense64.data == nullptr; }

DensePlan::DensePlan(const Features& x, int outputs, bool single, const double* weights)
    : x_(x), outputs_(outputs), single_(single && can_be_single(x)), weights_(weights) {
    if (weights == nullptr || !is_wide(x)) return;
    if (single_)
        by_class32_ = by_class<float>(weights, x.dense_columns, outputs);
    else
        by_class64_ = by_class<double>(weights, x.dense_columns, outputs);
}

std::unique_ptr<DensePart> DensePlan::part() const {
    if (!is_wide(x_)) return std::make_unique<Turned>(x_, outputs_, weights_);
    if (single_) return std::make_unique<AsRows<float>>(x_, outputs_, weights_ ? by_class32_.data() : nullptr);
    return std::make_unique<AsRows<double>>(x_, outputs_, weights_ ? by_class64_.data() : nullptr);
}

}  // namespace luce
