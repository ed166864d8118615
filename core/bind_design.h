// What the binding files share: arrays as they come from Python, the design matrix and the labels, checked once.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <optional>
#include <stdexcept>

#include "cross_entropy.h"
#include "view.h"

template <>
struct nanobind::detail::dtype_traits<luce::Float16> {
    static constexpr dlpack::dtype value{static_cast<std::uint8_t>(dlpack::dtype_code::Float), 16, 1};
    static constexpr auto name = const_name("float16");
};

namespace bound {

namespace nb = nanobind;
using luce::Index;

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutVector = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutMatrix = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutPanel = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutCube = nb::ndarray<double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <class T>
using Strided = nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>;

inline void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

inline void check_logits(Index rows, int outputs, std::size_t have_outputs, std::size_t have_rows) {
    require(static_cast<int>(have_outputs) == outputs && static_cast<Index>(have_rows) == rows,
            "logits must be outputs x rows");
}

template <class T>
luce::View<T> view_of(const Strided<T>& a) {
    return {a.data(), static_cast<Index>(a.shape(0)), static_cast<Index>(a.shape(1)), a.stride(0), a.stride(1)};
}

// A design matrix [dense | sparse] as the core sees it; keeps the arrays that it borrows alive.
class Design {
public:
    Design(std::optional<Strided<std::uint8_t>> dense8, std::optional<Strided<luce::Float16>> dense16,
           std::optional<Strided<float>> dense32, std::optional<Strided<double>> dense64,
           std::optional<Vector<std::int64_t>> starts, std::optional<Vector<std::int32_t>> indices,
           std::optional<Vector<float>> values, std::optional<Vector<double>> doubles, Index sparse_columns, Index rows)
        : dense8_(dense8),
          dense16_(dense16),
          dense32_(dense32),
          dense64_(dense64),
          starts_(starts),
          indices_(indices),
          values_(values),
          doubles_(doubles) {
        require(dense8.has_value() + dense16.has_value() + dense32.has_value() + dense64.has_value() <= 1,
                "give the dense part once");
        require(rows >= 0, "no negative number of rows");
        x.rows = rows;
        add_dense(dense8, x.dense8);
        add_dense(dense16, x.dense16);
        add_dense(dense32, x.dense32);
        add_dense(dense64, x.dense64);
        if (starts) add_sparse(sparse_columns);
    }

    luce::Features x;

private:
    template <class T>
    void add_dense(const std::optional<Strided<T>>& array, luce::View<T>& view) {
        if (!array) return;
        view = view_of(*array);
        require(view.rows == x.rows, "the dense part has another number of rows");
        x.dense_columns = view.columns;
    }

    void add_sparse(Index columns) {
        require(indices_.has_value() && columns > 0, "a sparse part needs indices and columns");
        const Index stored = static_cast<Index>(indices_->shape(0));
        require(static_cast<Index>(starts_->shape(0)) == x.rows + 1, "starts must have one number more than rows");
        require(!values_ || static_cast<Index>(values_->shape(0)) == stored, "values and indices differ in length");
        require(!doubles_ || (static_cast<Index>(doubles_->shape(0)) == stored && !values_),
                "doubles and indices differ in length, or values are given twice");
        const std::int64_t* s = starts_->data();
        require(s[0] == 0 && s[x.rows] == stored, "starts must run from 0 to the number of indices");
        for (Index i = 0; i < x.rows; ++i) require(s[i] <= s[i + 1], "starts must not fall");
        for (Index e = 0; e < stored; ++e)
            require(indices_->data()[e] >= 0 && indices_->data()[e] < columns, "a sparse index is out of range");
        x.sparse = {
            s,      indices_->data(), values_ ? values_->data() : nullptr, doubles_ ? doubles_->data() : nullptr,
            x.rows, columns};
    }

    std::optional<Strided<std::uint8_t>> dense8_;
    std::optional<Strided<luce::Float16>> dense16_;
    std::optional<Strided<float>> dense32_;
    std::optional<Strided<double>> dense64_;
    std::optional<Vector<std::int64_t>> starts_;
    std::optional<Vector<std::int32_t>> indices_;
    std::optional<Vector<float>> values_;
    std::optional<Vector<double>> doubles_;
};

// Class codes and row weights, checked once.
class Labels {
public:
    Labels(Vector<std::int32_t> codes, std::optional<Vector<double>> weights, int classes)
        : codes_(codes), weights_(weights) {
        require(classes >= 2, "at least two classes");
        require(!weights || weights->shape(0) == codes.shape(0), "weights and labels differ in length");
        for (std::size_t i = 0; i < codes.shape(0); ++i)
            require(codes.data()[i] >= 0 && codes.data()[i] < classes, "a class code is out of range");
        y = {codes.data(), weights ? weights->data() : nullptr, classes};
    }
    Index rows() const { return static_cast<Index>(codes_.shape(0)); }
    luce::Targets y;

private:
    Vector<std::int32_t> codes_;
    std::optional<Vector<double>> weights_;
};

}  // namespace bound
