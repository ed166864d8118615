// Sparse rows for Python: put in order, parted from numbers that are alone in their columns, and fitted by rows.
#include "bind_sparse.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <optional>
#include <utility>

#include "bind_design.h"
#include "dual_ascent.h"
#include "row_space.h"
#include "sparse_rows.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace bound;

namespace {

template <class T>
using Out = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

const luce::Csr& sparse_of(const Design& d) {
    require(d.x.dense_columns == 0 && d.x.sparse.columns > 0, "the design must be sparse alone");
    return d.x.sparse;
}

template <class T>
bool sort_rows(Vector<std::int64_t> starts, Out<std::int32_t> indices, Out<T> values, int threads) {
    const Index rows = static_cast<Index>(starts.shape(0)) - 1, stored = static_cast<Index>(indices.shape(0));
    require(rows >= 0 && indices.shape(0) == values.shape(0), "a value for each index");
    bool within = starts.data()[0] == 0 && starts.data()[rows] == stored;
    for (Index i = 0; i < rows; ++i) within = within && starts.data()[i] <= starts.data()[i + 1];
    require(within, "the rows must follow each other");
    nb::gil_scoped_release free;
    return luce::sort_rows(starts.data(), rows, indices.data(), values.data(), threads);
}

Index meet_columns(const Design& d, Out<std::uint8_t> met, int threads) {
    require(static_cast<Index>(met.shape(0)) == sparse_of(d).columns, "a count for each column");
    nb::gil_scoped_release free;
    return luce::meet_columns(d.x.sparse, met.data(), std::max(threads, 1));
}

void part_rows(const Design& d, Vector<std::uint8_t> met, Out<std::int64_t> shared, OutVector alone, int threads) {
    require(static_cast<Index>(met.shape(0)) == sparse_of(d).columns, "a count for each column");
    require(static_cast<Index>(shared.shape(0)) == d.x.rows && shared.shape(0) == alone.shape(0), "one for each row");
    nb::gil_scoped_release free;
    luce::part_rows(d.x.sparse, met.data(), shared.data(), alone.data(), threads);
}

template <class T>
void shared_entries(const Design& d, Vector<std::uint8_t> met, Vector<std::int32_t> place, Vector<std::int64_t> starts,
                    Out<std::int32_t> indices, Out<T> values, int threads) {
    require(static_cast<Index>(met.shape(0)) == sparse_of(d).columns && met.shape(0) == place.shape(0),
            "a count and a place for each column");
    require(static_cast<Index>(starts.shape(0)) == d.x.rows + 1 && indices.shape(0) == values.shape(0) &&
                static_cast<Index>(indices.shape(0)) == starts.data()[d.x.rows],
            "starts as the rows have numbers that are not alone");
    nb::gil_scoped_release free;
    luce::shared_entries(d.x.sparse, met.data(), place.data(), starts.data(), indices.data(), values.data(), threads);
}

void spread_product(const Design& d, Vector<std::uint8_t> met, Vector<std::int32_t> place, Matrix<double> shared,
                    Matrix<double> residual, OutMatrix out, int threads) {
    const Index columns = sparse_of(d).columns;
    require(static_cast<Index>(met.shape(0)) == columns && met.shape(0) == place.shape(0) && place.shape(0) > 0,
            "a count and a place for each column");
    require(static_cast<Index>(shared.shape(0)) == place.data()[columns - 1] + 1, "a row for each place");
    require(static_cast<Index>(residual.shape(1)) == d.x.rows && residual.shape(0) == shared.shape(1),
            "the residual must be outputs x rows");
    require(static_cast<Index>(out.shape(0)) == columns && out.shape(1) == residual.shape(0),
            "the product must be columns x outputs");
    nb::gil_scoped_release free;
    luce::spread_product(d.x.sparse, met.data(), place.data(), shared.data(), residual.data(),
                         static_cast<int>(out.shape(1)), out.data(), threads);
}

// X X' of a sparse design, and the last steps of a solver whose vectors are [a | X X'a | b] (core/quasi_newton.h).
class RowSpace {
public:
    explicit RowSpace(const Design& d) : space_(sparse_of(d)) {}

    void product(Matrix<double> a, OutMatrix z, int threads) const {
        require(static_cast<Index>(a.shape(1)) == space_.rows() && a.shape(0) == z.shape(0) && a.shape(1) == z.shape(1),
                "a and z must be outputs x rows");
        nb::gil_scoped_release free;
        space_.product(a.data(), static_cast<int>(a.shape(0)), z.data(), threads);
    }

    void peaks(Matrix<double> r, double least, OutVector peak, OutVector excess, int threads) const {
        require(static_cast<Index>(r.shape(1)) == space_.rows() && r.shape(0) >= 1, "r must be outputs x rows");
        require(static_cast<Index>(peak.shape(0)) == space_.columns() && peak.shape(0) == excess.shape(0),
                "a peak and an excess for each column");
        nb::gil_scoped_release free;
        space_.peaks(r.data(), static_cast<int>(r.shape(0)), least, peak.data(), excess.data(), threads);
    }

private:
    luce::RowSpace space_;
};

class DualAscent {
public:
    DualAscent(const Design& d, const Labels& labels, double l2, std::optional<Vector<double>> alone)
        : rows_(d.x.rows),
          outputs_(labels.y.outputs()),
          ascent_(checked(d, labels, l2, alone), labels.y, l2, alone ? alone->data() : nullptr) {}

    std::pair<double, double> epoch(OutVector bias, bool free_bias) {
        require(static_cast<int>(bias.shape(0)) == outputs_, "a bias for each output");
        nb::gil_scoped_release free;
        const luce::DualAscent::Met met = ascent_.epoch(bias.data(), free_bias);
        return {met.loss, met.divergence};
    }
    void residual(OutMatrix out) const {
        check_logits(rows_, outputs_, out.shape(0), out.shape(1));
        ascent_.residual(out.data());
    }
    void take(Matrix<double> residual) {
        check_logits(rows_, outputs_, residual.shape(0), residual.shape(1));
        nb::gil_scoped_release free;
        ascent_.take(residual.data());
    }
    double square() const { return ascent_.square(); }
    void logits(Vector<double> bias, OutMatrix out, int threads) const {
        require(static_cast<int>(bias.shape(0)) == outputs_, "a bias for each output");
        check_logits(rows_, outputs_, out.shape(0), out.shape(1));
        nb::gil_scoped_release free;
        ascent_.logits(bias.data(), out.data(), threads);
    }

private:
    static const luce::Features& checked(const Design& d, const Labels& labels, double l2,
                                         const std::optional<Vector<double>>& alone) {
        const luce::Features& x = d.x;
        const bool dense = x.sparse.columns == 0 && ((x.dense32.columns > 0 && x.dense32.column_stride == 1) ||
                                                     (x.dense16.columns > 0 && x.dense16.column_stride == 1));
        require((x.dense_columns == 0 && x.sparse.columns > 0) || dense,
                "the design must be sparse, float16 or float32 alone");
        require(labels.rows() == x.rows && l2 > 0.0, "a label for each row, and a penalty");
        require(!alone || static_cast<Index>(alone->shape(0)) == x.rows, "a number for each row");
        return x;
    }
    Index rows_;
    int outputs_;
    luce::DualAscent ascent_;
};

}  // namespace

void bind_sparse(nb::module_& m) {
    m.def("sort_rows", &sort_rows<float>, "starts"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert(),
          "threads"_a);
    m.def("sort_rows", &sort_rows<double>, "starts"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert(),
          "threads"_a);
    m.def("meet_columns", &meet_columns, "design"_a, "met"_a.noconvert(), "threads"_a);
    m.def("part_rows", &part_rows, "design"_a, "met"_a.noconvert(), "shared"_a.noconvert(), "alone"_a.noconvert(),
          "threads"_a);
    m.def("spread_product", &spread_product, "design"_a, "met"_a.noconvert(), "place"_a.noconvert(),
          "shared"_a.noconvert(), "residual"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("shared_entries", &shared_entries<float>, "design"_a, "met"_a.noconvert(), "place"_a.noconvert(),
          "starts"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert(), "threads"_a);
    m.def("shared_entries", &shared_entries<double>, "design"_a, "met"_a.noconvert(), "place"_a.noconvert(),
          "starts"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert(), "threads"_a);
    nb::class_<RowSpace>(m, "RowSpace")
        .def(nb::init<const Design&>(), "design"_a)
        .def("product", &RowSpace::product, "a"_a.noconvert(), "z"_a.noconvert(), "threads"_a)
        .def("peaks", &RowSpace::peaks, "r"_a.noconvert(), "least"_a, "peak"_a.noconvert(), "excess"_a.noconvert(),
             "threads"_a);
    nb::class_<DualAscent>(m, "DualAscent")
        .def(nb::init<const Design&, const Labels&, double, std::optional<Vector<double>>>(), "design"_a, "labels"_a,
             "l2"_a, "alone"_a.noconvert().none(), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>())
        .def("epoch", &DualAscent::epoch, "bias"_a.noconvert(), "free_bias"_a)
        .def("residual", &DualAscent::residual, "out"_a.noconvert())
        .def("take", &DualAscent::take, "residual"_a.noconvert())
        .def("square", &DualAscent::square)
        .def("logits", &DualAscent::logits, "bias"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
}
