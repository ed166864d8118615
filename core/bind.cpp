// The one file that knows both languages: names, dtype and shape checks, the GIL released round each call.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "bend.h"
#include "bind_blocks.h"
#include "bind_design.h"
#include "bind_json.h"
#include "bind_network.h"
#include "bind_patches.h"
#include "bind_sparse.h"
#include "bind_text.h"
#include "chunks.h"
#include "coordinate_descent.h"
#include "cross_entropy.h"
#include "dense_part.h"
#include "gram.h"
#include "kernels.h"
#include "pair_sums.h"
#include "predict.h"
#include "quasi_newton.h"
#include "softmax.h"
#include "symmetric.h"

namespace nb = nanobind;
using namespace nb::literals;
using luce::Index;

using namespace bound;

namespace {

void check_weights(const Design& d, const Matrix<double>& w, const Vector<double>& b) {
    require(static_cast<Index>(w.shape(0)) == d.x.columns(), "weights need one row for each column of the design");
    require(w.shape(1) == b.shape(0), "weights and bias differ in width");
}

void forward(const Design& d, Matrix<double> w, Vector<double> b, OutMatrix out, int threads, bool single) {
    check_weights(d, w, b);
    check_logits(d.x.rows, static_cast<int>(w.shape(1)), out.shape(0), out.shape(1));
    nb::gil_scoped_release free;
    luce::forward(d.x, w.data(), b.data(), static_cast<int>(w.shape(1)), out.data(), d.x.rows, threads, single);
}

void check_gradient(const Design& d, std::size_t outputs, const OutMatrix& g) {
    require(static_cast<Index>(g.shape(0)) == d.x.columns() + 1 && g.shape(1) == outputs,
            "the gradient must be (columns + 1) x outputs");
}

std::tuple<double, double, double> along(Matrix<double> logits, Matrix<double> direction, double step,
                                         const Labels& labels, int threads) {
    check_logits(labels.rows(), labels.y.outputs(), logits.shape(0), logits.shape(1));
    check_logits(labels.rows(), labels.y.outputs(), direction.shape(0), direction.shape(1));
    nb::gil_scoped_release free;
    const luce::Derivatives r =
        luce::along(logits.data(), direction.data(), step, labels.rows(), labels.rows(), labels.y, threads);
    return {r.loss, r.slope, r.curve};
}

double gradient_at(const Design& d, OutMatrix logits, std::optional<Matrix<double>> direction, double step,
                   const Labels& labels, std::optional<Vector<double>> correction, OutMatrix gradient, int threads,
                   bool single) {
    const int outputs = labels.y.outputs();
    require(labels.rows() == d.x.rows, "labels and design differ in rows");
    check_logits(d.x.rows, outputs, logits.shape(0), logits.shape(1));
    if (direction) check_logits(d.x.rows, outputs, direction->shape(0), direction->shape(1));
    require(!correction || static_cast<int>(correction->shape(0)) == outputs, "one correction for each output");
    check_gradient(d, outputs, gradient);
    nb::gil_scoped_release free;
    return luce::gradient_at(d.x, logits.data(), direction ? direction->data() : nullptr, step, d.x.rows, labels.y,
                             correction ? correction->data() : nullptr, gradient.data(), threads, single);
}

double whole_step(const Design& d, Matrix<double> logits, Matrix<double> v, Vector<double> c, const Labels& labels,
                  OutMatrix along, OutMatrix gradient, int threads, bool single) {
    check_weights(d, v, c);
    const int outputs = labels.y.outputs();
    require(static_cast<int>(v.shape(1)) == outputs, "the direction needs one column for each output");
    require(labels.rows() == d.x.rows, "labels and design differ in rows");
    check_logits(d.x.rows, outputs, logits.shape(0), logits.shape(1));
    check_logits(d.x.rows, outputs, along.shape(0), along.shape(1));
    check_gradient(d, v.shape(1), gradient);
    nb::gil_scoped_release free;
    return luce::whole_step(d.x, logits.data(), v.data(), c.data(), d.x.rows, labels.y, along.data(), gradient.data(),
                            threads, single);
}

double residuals(Matrix<double> logits, const Labels& labels, std::optional<Vector<double>> correction,
                 OutMatrix residual, int threads) {
    const int outputs = labels.y.outputs();
    check_logits(labels.rows(), outputs, logits.shape(0), logits.shape(1));
    check_logits(labels.rows(), outputs, residual.shape(0), residual.shape(1));
    require(!correction || static_cast<int>(correction->shape(0)) == outputs, "one correction for each output");
    nb::gil_scoped_release free;
    return luce::residuals(logits.data(), labels.rows(), labels.rows(), labels.y,
                           correction ? correction->data() : nullptr, residual.data(), threads);
}

void transposed_product(const Design& d, Matrix<double> residual, OutMatrix gradient, int threads) {
    require(static_cast<Index>(residual.shape(1)) == d.x.rows, "the residual must be outputs x rows");
    require(static_cast<Index>(gradient.shape(0)) == d.x.columns() && gradient.shape(1) == residual.shape(0),
            "the gradient must be columns x outputs");
    nb::gil_scoped_release free;
    luce::transposed_product(d.x, residual.data(), d.x.rows, static_cast<int>(residual.shape(0)), gradient.data(),
                             threads);
}

// (rows in a chunk, chunks) of a pass that sums `width` numbers over rows that are some of `all`
std::pair<Index, Index> chunks_of(Index rows, Index width, Index all) {
    require(rows >= 0 && width >= 0 && rows <= all, "some of all rows, and what is summed over them");
    const luce::Chunks chunks(rows, width, all);
    return {chunks.tiles_each * luce::TILE, chunks.count};
}

void check_parts(const OutMatrix& parts, Index rows, Index width, Index of_width, Index all) {
    require(static_cast<Index>(parts.shape(0)) == chunks_of(rows, of_width, all).second &&
                static_cast<Index>(parts.shape(1)) == width,
            "the parts must be chunks x sums");
}

void add_chunks(Matrix<double> parts, OutVector out, int threads) {
    require(parts.shape(1) == out.shape(0), "parts and their sum differ in width");
    nb::gil_scoped_release free;
    luce::add_chunks(parts.data(), static_cast<Index>(parts.shape(0)), static_cast<Index>(parts.shape(1)), out.data(),
                     threads);
}

void cross_entropy_chunks(const Design& d, Index all, Matrix<double> w, Vector<double> b, const Labels& labels,
                          std::optional<Vector<double>> correction, OutMatrix parts, int threads, bool single) {
    check_weights(d, w, b);
    require(static_cast<int>(w.shape(1)) == labels.y.outputs(), "weights need one column for each output");
    require(labels.rows() == d.x.rows, "labels and design differ in rows");
    require(!correction || correction->shape(0) == w.shape(1), "one correction for each output");
    const Index width = (d.x.columns() + 1) * labels.y.outputs() + 1;
    check_parts(parts, d.x.rows, width, width, all);
    nb::gil_scoped_release free;
    luce::cross_entropy_chunks(d.x, all, w.data(), b.data(), labels.y, correction ? correction->data() : nullptr,
                               parts.data(), threads, single);
}

void intercept_curvature_chunks(const Design& d, Index all, Matrix<double> w, Vector<double> b, const Labels& labels,
                                OutMatrix parts, int threads) {
    check_weights(d, w, b);
    require(static_cast<int>(w.shape(1)) == labels.y.outputs(), "weights need one column for each output");
    require(labels.rows() == d.x.rows, "labels and design differ in rows");
    const Index width = static_cast<Index>(w.shape(1) * w.shape(1));
    check_parts(parts, d.x.rows, width, width, all);
    nb::gil_scoped_release free;
    luce::intercept_curvature_chunks(d.x, all, w.data(), b.data(), labels.y, parts.data(), threads);
}

void row_curvature_at(const Design& d, Matrix<double> w, Vector<double> b, const Labels& labels, OutVector curvature,
                      int threads) {
    check_weights(d, w, b);
    require(static_cast<int>(w.shape(1)) == labels.y.outputs(), "weights need one column for each output");
    require(labels.rows() == d.x.rows && static_cast<Index>(curvature.shape(0)) == d.x.rows,
            "a label and a curvature for each row");
    nb::gil_scoped_release free;
    luce::row_curvature_at(d.x, w.data(), b.data(), labels.y, curvature.data(), threads);
}

void hessian_product(const Design& d, Matrix<double> logits, const Labels& labels, Matrix<double> v, Vector<double> c,
                     OutMatrix product, int threads, bool single) {
    check_weights(d, v, c);
    require(static_cast<int>(v.shape(1)) == labels.y.outputs(), "the direction needs one column for each output");
    require(labels.rows() == d.x.rows, "labels and design differ in rows");
    check_logits(d.x.rows, labels.y.outputs(), logits.shape(0), logits.shape(1));
    check_gradient(d, v.shape(1), product);
    nb::gil_scoped_release free;
    luce::hessian_product(d.x, logits.data(), d.x.rows, labels.y, v.data(), c.data(), product.data(), threads, single);
}

void intercept_curvature(Matrix<double> logits, const Labels& labels, OutMatrix hessian, int threads) {
    const std::size_t outputs = labels.y.outputs();
    check_logits(labels.rows(), labels.y.outputs(), logits.shape(0), logits.shape(1));
    require(hessian.shape(0) == outputs && hessian.shape(1) == outputs, "the curvature must be outputs x outputs");
    nb::gil_scoped_release free;
    luce::intercept_curvature(logits.data(), labels.rows(), labels.rows(), labels.y, hessian.data(), threads);
}

bool symmetric_eigen(OutMatrix a, OutVector values) {
    require(a.shape(0) == a.shape(1) && values.shape(0) == a.shape(0), "a square matrix and a value for each row");
    nb::gil_scoped_release free;
    return luce::symmetric_eigen(a.data(), static_cast<Index>(a.shape(0)), values.data());
}

bool solve_symmetric(OutMatrix a, Vector<double> b, double rank, OutVector x) {
    require(a.shape(0) == a.shape(1) && b.shape(0) == a.shape(0) && x.shape(0) == a.shape(0),
            "a square matrix and vectors of its size");
    nb::gil_scoped_release free;
    return luce::solve_symmetric(a.data(), static_cast<Index>(a.shape(0)), b.data(), rank, x.data());
}

bool update_curvature(OutMatrix h, Vector<double> step, Vector<double> change) {
    require(h.shape(0) == h.shape(1) && step.shape(0) == h.shape(0) && change.shape(0) == h.shape(0),
            "a square matrix and vectors of its size");
    nb::gil_scoped_release free;
    return luce::update_curvature(h.data(), static_cast<Index>(h.shape(0)), step.data(), change.data());
}

void row_curvature(Matrix<double> logits, const Labels& labels, OutVector curvature, int threads) {
    check_logits(labels.rows(), labels.y.outputs(), logits.shape(0), logits.shape(1));
    require(static_cast<Index>(curvature.shape(0)) == labels.rows(), "one curvature for each row");
    nb::gil_scoped_release free;
    luce::row_curvature(logits.data(), labels.rows(), labels.rows(), labels.y, curvature.data(), threads);
}

void curvature_along(Matrix<double> logits, const Labels& labels, Matrix<double> basis, OutMatrix curvature,
                     int threads) {
    const std::size_t outputs = labels.y.outputs();
    check_logits(labels.rows(), labels.y.outputs(), logits.shape(0), logits.shape(1));
    require(basis.shape(0) == outputs && basis.shape(1) == outputs, "the basis must be outputs x outputs");
    check_logits(labels.rows(), labels.y.outputs(), curvature.shape(0), curvature.shape(1));
    nb::gil_scoped_release free;
    luce::curvature_along(logits.data(), labels.rows(), labels.rows(), labels.y, basis.data(), curvature.data(),
                          threads);
}

void check_places(const Vector<Index>& places, Index end) {
    for (std::size_t i = 0; i < places.shape(0); ++i)
        require(places.data()[i] >= 0 && places.data()[i] < end, "a row or column is out of range");
}

void submatrix(const Design& d, Vector<Index> rows, Vector<Index> columns, Vector<double> centre, Vector<double> spread,
               OutPanel out, int threads) {
    check_places(rows, d.x.rows);
    check_places(columns, d.x.columns());
    for (std::size_t j = 1; j < columns.shape(0); ++j)
        require(columns.data()[j - 1] < columns.data()[j], "columns must ascend");
    require(out.shape(0) == rows.shape(0) && out.shape(1) > columns.shape(0), "out must be rows x more than columns");
    require(static_cast<Index>(centre.shape(0)) == d.x.dense_columns, "a centre for each dense column");
    require(static_cast<Index>(spread.shape(0)) == d.x.columns(), "a spread for each column");
    nb::gil_scoped_release free;
    luce::submatrix(d.x, rows.data(), static_cast<Index>(rows.shape(0)), columns.data(),
                    static_cast<Index>(columns.shape(0)), centre.data(), spread.data(),
                    static_cast<Index>(out.shape(1)), out.data(), threads);
}

void column_sums(const Design& d, Index all, OutMatrix parts, int threads) {
    check_parts(parts, d.x.rows, d.x.dense_columns, d.x.columns(), all);
    nb::gil_scoped_release free;
    luce::column_sums(d.x, all, parts.data(), threads);
}

void column_squares(const Design& d, Index all, Vector<double> centre, OutMatrix parts, int threads) {
    require(static_cast<Index>(centre.shape(0)) == d.x.dense_columns, "a centre for each dense column");
    check_parts(parts, d.x.rows, d.x.columns(), d.x.columns(), all);
    nb::gil_scoped_release free;
    luce::column_squares(d.x, all, centre.data(), parts.data(), threads);
}

void row_energy(const Design& d, Vector<double> centre, Vector<double> variance, OutVector energy, int threads) {
    require(static_cast<Index>(variance.shape(0)) == d.x.columns(), "a variance for each column");
    require(static_cast<Index>(centre.shape(0)) == d.x.dense_columns && static_cast<Index>(energy.shape(0)) == d.x.rows,
            "a centre for each dense column, an energy for each row");
    nb::gil_scoped_release free;
    luce::row_energy(d.x, centre.data(), variance.data(), energy.data(), threads);
}

void row_hash(const Design& d, std::uint64_t seed,
              nb::ndarray<std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> hash, int threads) {
    require(static_cast<Index>(hash.shape(0)) == d.x.rows, "a hash for each row");
    nb::gil_scoped_release free;
    luce::row_hash(d.x, seed, hash.data(), threads);
}

void weighted_squares(const Design& d, Vector<Index> rows, Matrix<double> weights, OutMatrix out, int threads) {
    check_places(rows, d.x.rows);
    require(weights.shape(1) == rows.shape(0), "weights must be blocks x rows");
    require(out.shape(0) == weights.shape(0) && static_cast<Index>(out.shape(1)) == d.x.columns(),
            "out must be blocks x columns");
    nb::gil_scoped_release free;
    luce::weighted_squares(d.x, rows.data(), static_cast<Index>(rows.shape(0)), weights.data(),
                           static_cast<Index>(weights.shape(0)), out.data(), threads);
}

template <class T>
using OutRows = nb::ndarray<T, nb::ndim<2>, nb::device::cpu>;

template <class T>
void bend(Vector<double> x, Vector<double> knots, Matrix<double> table, Vector<double> sizes, OutRows<T> out) {
    const auto rows = static_cast<Index>(x.shape(0));
    const auto count = static_cast<Index>(knots.shape(0)), functions = static_cast<Index>(table.shape(1));
    require(count > 1 && static_cast<Index>(table.shape(0)) == count,
            "a row of the table for each of two knots or more");
    require(static_cast<Index>(sizes.shape(0)) == functions && static_cast<Index>(out.shape(0)) == functions &&
                static_cast<Index>(out.shape(1)) == rows,
            "out is functions x rows, and a size for each function");
    require(rows < 2 || out.stride(1) == 1, "the rows of out are side by side");
    nb::gil_scoped_release release;
    luce::bend(x.data(), rows, knots.data(), count, table.data(), sizes.data(), functions, out.data(), out.stride(0));
}

void pair_sums(Matrix<std::uint8_t> codes, Index parts, Vector<std::uint8_t> group, Index groups,
               Matrix<double> numbers, Matrix<std::int32_t> pairs, OutMatrix out, int threads) {
    const Index rows = static_cast<Index>(codes.shape(1)), width = static_cast<Index>(numbers.shape(1));
    require(static_cast<Index>(group.shape(0)) == rows && static_cast<Index>(numbers.shape(0)) == rows,
            "one group and one row of numbers for each row");
    require(pairs.shape(1) == 2 && out.shape(0) == pairs.shape(0) &&
                static_cast<Index>(out.shape(1)) == groups * parts * parts * width,
            "out must be pairs x (groups * parts * parts * width)");
    for (std::size_t i = 0; i < codes.size(); ++i) require(codes.data()[i] < parts, "a code is beyond its parts");
    for (std::size_t i = 0; i < group.size(); ++i) require(group.data()[i] < groups, "a group is beyond its number");
    for (std::size_t i = 0; i < pairs.size(); ++i)
        require(pairs.data()[i] >= 0 && static_cast<std::size_t>(pairs.data()[i]) < codes.shape(0),
                "a pair names a column that is not there");
    nb::gil_scoped_release free;
    luce::pair_sums(codes.data(), rows, parts, group.data(), groups, numbers.data(), width, pairs.data(),
                    static_cast<Index>(pairs.shape(0)), out.data(), threads);
}

void check_panel(const Matrix<float>& x, Index size) {
    const Index padded = static_cast<Index>(x.shape(1));
    require(padded % luce::GRAM_PAD == 0 && size >= 1 && size + 8 <= padded,
            "columns must be padded by 8 to a multiple of 32");
}

void check_panel(const Matrix<float>& x, Index size, const Vector<double>& ridge) {
    check_panel(x, size);
    require(static_cast<Index>(ridge.shape(0)) == size, "one ridge for each column");
}

luce::Sums sums_of(bool exact) { return exact ? luce::Sums::exact : luce::Sums::single; }

double curvature_factors(Matrix<float> x, Index size, Matrix<double> weights, Vector<double> ridge, OutCube factors,
                         int threads, bool exact) {
    check_panel(x, size, ridge);
    require(weights.shape(1) == x.shape(0), "weights must be blocks x rows");
    require(factors.shape(0) == weights.shape(0) && static_cast<Index>(factors.shape(1)) == size &&
                static_cast<Index>(factors.shape(2)) == size,
            "factors must be blocks x size x size");
    nb::gil_scoped_release free;
    return luce::curvature_factors(x.data(), static_cast<Index>(x.shape(0)), size, static_cast<Index>(x.shape(1)),
                                   weights.data(), static_cast<Index>(weights.shape(0)), ridge.data(), sums_of(exact),
                                   factors.data(), threads);
}

double coupled_factor(Matrix<float> x, Index size, Matrix<double> shares, Vector<double> weights, Vector<double> ridge,
                      OutMatrix factor, int threads, bool exact) {
    check_panel(x, size, ridge);
    require(shares.shape(1) == x.shape(0) && weights.shape(0) == x.shape(0), "a share and a weight for each row");
    require(shares.shape(0) >= 2 && factor.shape(0) == factor.shape(1) &&
                static_cast<Index>(factor.shape(0)) == (static_cast<Index>(shares.shape(0)) - 1) * size,
            "the factor must be (classes - 1) size square");
    nb::gil_scoped_release free;
    return luce::coupled_factor(x.data(), static_cast<Index>(x.shape(0)), size, static_cast<Index>(x.shape(1)),
                                shares.data(), weights.data(), static_cast<int>(shares.shape(0)), ridge.data(),
                                sums_of(exact), factor.data(), threads);
}

void whole_curvature(Matrix<float> x, Index size, Matrix<double> shares, Vector<double> weights, OutMatrix curvature,
                     int threads) {
    check_panel(x, size);
    require(shares.shape(1) == x.shape(0) && weights.shape(0) == x.shape(0), "a share and a weight for each row");
    require(shares.shape(0) >= 1 && curvature.shape(0) == curvature.shape(1) &&
                static_cast<Index>(curvature.shape(0)) == static_cast<Index>(shares.shape(0)) * size,
            "the curvature must be outputs * size square");
    nb::gil_scoped_release free;
    luce::whole_curvature(x.data(), static_cast<Index>(x.shape(0)), size, static_cast<Index>(x.shape(1)), shares.data(),
                          weights.data(), static_cast<int>(shares.shape(0)), curvature.data(), threads);
}

// Directions for points of columns x outputs; keeps the arrays of its metric alive.
class QuasiNewton {
public:
    using Cube = nb::ndarray<const double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

    QuasiNewton(Vector<Index> exact, Vector<Index> rest, int outputs, int memory)
        : exact_(exact), rest_(rest), history_(luce::Product{length(exact, rest, outputs)}, memory) {
        require(outputs >= 1 && memory >= 0, "at least one output, no negative memory");
        metric_.columns = static_cast<Index>(exact.shape(0) + rest.shape(0));
        metric_.outputs = outputs;
        metric_.exact = exact.data();
        metric_.size = static_cast<Index>(exact.shape(0));
        metric_.rest = rest.data();
        std::vector<char> met(metric_.columns);
        for (const Vector<Index>& part : {exact, rest}) {
            check_places(part, metric_.columns);
            for (std::size_t i = 0; i < part.shape(0); ++i) met[part.data()[i]]++;
        }
        for (const char times : met) require(times == 1, "exact and rest must name every column once");
    }

    void take_metric(Matrix<double> basis, Cube factors, Matrix<double> diagonal) {
        const std::size_t outputs = metric_.outputs, size = metric_.size, rest = metric_.columns - metric_.size;
        require(basis.shape(0) == outputs && basis.shape(1) == outputs, "the basis must be outputs x outputs");
        const std::size_t side = factors.shape(1);
        const bool coupled = outputs > 1 && factors.shape(0) == 1 && side == (outputs - 1) * size && side != size;
        require(factors.shape(2) == side && (coupled || side == size) &&
                    (factors.shape(0) == 1 || factors.shape(0) == outputs),
                "factors must be 1 or outputs x size x size, or 1 x side x side, side = (outputs - 1) size");
        require(diagonal.shape(1) == rest && (rest == 0 || diagonal.shape(0) == outputs),
                "the diagonal must be outputs x rest");
        basis_ = basis, factors_ = factors, diagonal_ = diagonal;
        metric_.basis = basis.data();
        metric_.factors = factors.data();
        metric_.count = static_cast<Index>(factors.shape(0));
        metric_.coupled = coupled;
        metric_.diagonal = diagonal.data();
        history_.forget();
    }

    void forget() { history_.forget(); }

    void remember(Matrix<double> step, Matrix<double> change, int threads) {
        check(step);
        check(change);
        nb::gil_scoped_release free;
        history_.remember(step.data(), change.data(), threads);
    }

    std::size_t size() const { return history_.size(); }

    void pair(std::size_t i, OutMatrix step, OutMatrix change) const {
        require(i < history_.size(), "there is no such pair");
        check(step);
        check(change);
        history_.copy(i, step.data(), change.data());
    }

    double direction(Matrix<double> gradient, OutMatrix out, int threads) {
        require(metric_.factors != nullptr, "the metric is not there yet");
        check(gradient);
        check(out);
        nb::gil_scoped_release free;
        return history_.direction(gradient.data(), metric_, out.data(), threads);
    }

private:
    static Index length(const Vector<Index>& exact, const Vector<Index>& rest, int outputs) {
        return static_cast<Index>(exact.shape(0) + rest.shape(0)) * outputs;
    }
    template <class Array>
    void check(const Array& a) const {
        require(static_cast<Index>(a.shape(0)) == metric_.columns && static_cast<int>(a.shape(1)) == metric_.outputs,
                "points must be columns x outputs");
    }

    Vector<Index> exact_, rest_;
    Matrix<double> basis_, diagonal_;
    Cube factors_;
    luce::Metric metric_;
    luce::History history_;
};

class PairedHistory {
public:
    PairedHistory(Index length, Index paired, int memory)
        : length_(length), history_(luce::Product{length, paired}, memory) {
        require(length >= 1 && paired >= 0 && 2 * paired <= length && memory >= 1, "a vector is [a | z | b]");
    }
    void forget() { history_.forget(); }
    void remember(Vector<double> step, Vector<double> change, int threads) {
        require(has_length(step) && has_length(change), "vectors of another length");
        nb::gil_scoped_release free;
        history_.remember(step.data(), change.data(), threads);
    }
    double direction(Vector<double> gradient, double first, OutVector out, int threads) const {
        require(has_length(gradient) && static_cast<Index>(out.shape(0)) == length_, "vectors of another length");
        nb::gil_scoped_release free;
        return history_.direction(gradient.data(), first, out.data(), threads);
    }

private:
    bool has_length(const Vector<double>& v) const { return static_cast<Index>(v.shape(0)) == length_; }
    Index length_;
    luce::History history_;
};

luce::ModelPoint model_point(const Matrix<double>& weights, const Matrix<double>& gradient, double l1, bool intercepts,
                             double enough, int most, const OutMatrix& direction) {
    const std::size_t columns = weights.shape(0), outputs = weights.shape(1);
    require(outputs >= 1 && gradient.shape(0) == columns + 1 && gradient.shape(1) == outputs &&
                direction.shape(0) == columns + 1 && direction.shape(1) == outputs,
            "weights must be columns x outputs, gradient and direction (columns + 1) x outputs");
    return {static_cast<Index>(columns),
            static_cast<int>(outputs),
            weights.data(),
            gradient.data(),
            l1,
            intercepts,
            enough,
            most};
}

int descend(Matrix<double> curvature, Matrix<double> weights, Matrix<double> gradient, double l1, bool intercepts,
            double enough, int most, OutMatrix direction) {
    const luce::ModelPoint at = model_point(weights, gradient, l1, intercepts, enough, most, direction);
    require(curvature.shape(0) == curvature.shape(1) && curvature.shape(0) == gradient.shape(0) * gradient.shape(1),
            "the curvature must be (columns + 1) * outputs square");
    nb::gil_scoped_release free;
    return luce::descend(at, curvature.data(), direction.data());
}

// Some columns of some rows of a design, to go over one weight at a time.
class Columns {
public:
    Columns(const Design& d, Vector<Index> rows, Vector<Index> columns) : rows_(static_cast<Index>(rows.shape(0))) {
        check_places(rows, d.x.rows);
        check_places(columns, d.x.columns());
        nb::gil_scoped_release free;
        lists_ = luce::column_lists(d.x, rows.data(), rows_, columns.data(), static_cast<Index>(columns.shape(0)));
    }

    int descend(Matrix<double> shares, Vector<double> scale, Matrix<double> weights, Matrix<double> gradient, double l1,
                double l2, bool intercepts, double enough, int most, OutMatrix direction) const {
        const luce::ModelPoint at = model_point(weights, gradient, l1, intercepts, enough, most, direction);
        require(shares.shape(0) == weights.shape(1) && static_cast<Index>(shares.shape(1)) == rows_ &&
                    static_cast<Index>(scale.shape(0)) == rows_,
                "a share and a scale for each row");
        require(static_cast<Index>(weights.shape(0)) == lists_.columns(), "weights must be columns x outputs");
        const luce::RowModel model{&lists_, rows_, shares.data(), scale.data(), l2};
        nb::gil_scoped_release free;
        return luce::descend(at, model, direction.data());
    }

private:
    Index rows_;
    luce::ColumnLists lists_;
};

// False, and nothing done, where the shapes do not fit or a number is not within +-largest: then the caller finds out
// why.
template <class T>
bool predict(Strided<T> x, Strided<double> coef, Vector<double> bias, double largest, OutMatrix out) {
    const Index rows = static_cast<Index>(x.shape(0)), columns = static_cast<Index>(x.shape(1));
    const std::size_t outputs = coef.shape(0);
    if (rows < 1 || rows > luce::FEW_ROWS || columns < 1 || static_cast<Index>(coef.shape(1)) != columns) return false;
    if (bias.shape(0) != outputs || out.shape(0) != x.shape(0) || out.shape(1) != (outputs == 1 ? 2 : outputs))
        return false;
    const luce::View<T> view = view_of(x);
    for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j) {
            const double value = static_cast<double>(view.data[i * view.row_stride + j * view.column_stride]);
            if (!(value <= largest && value >= -largest)) return false;
        }
    luce::Features features;
    if constexpr (sizeof(T) == sizeof(float))
        features.dense32 = view;
    else
        features.dense64 = view;
    features.rows = rows;
    features.dense_columns = columns;
    const double* weights = coef.data();
    std::vector<double> turned;
    if (coef.stride(0) != 1 || coef.stride(1) != static_cast<Index>(outputs)) {
        turned.resize(columns * outputs);
        for (Index j = 0; j < columns; ++j)
            for (std::size_t k = 0; k < outputs; ++k)
                turned[j * outputs + k] = coef.data()[static_cast<Index>(k) * coef.stride(0) + j * coef.stride(1)];
        weights = turned.data();
    }
    luce::predict(features, weights, bias.data(), static_cast<int>(outputs), out.data());
    return true;
}

// Arrays of any dimensions, side by side in memory; the axis counts from 0, or from the end if below 0.
template <class T>
using Packed = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using OutPacked = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

template <class Array>
void require_aligned(const Array& a) {
    require(reinterpret_cast<std::uintptr_t>(a.data()) % sizeof(*a.data()) == 0, "arrays must lie aligned in memory");
}

struct Extent {
    Index outer = 1, classes, inner = 1;
};

template <class T>
Extent extent_of(const Packed<T>& z, int asked) {
    require_aligned(z);
    const int dimensions = static_cast<int>(z.ndim());
    require(-dimensions <= asked && asked < dimensions, "the axis does not exist");
    const std::size_t axis = static_cast<std::size_t>(asked < 0 ? asked + dimensions : asked);
    Extent e;
    for (std::size_t i = 0; i < axis; ++i) e.outer *= static_cast<Index>(z.shape(i));
    for (std::size_t i = axis + 1; i < z.ndim(); ++i) e.inner *= static_cast<Index>(z.shape(i));
    e.classes = static_cast<Index>(z.shape(axis));
    require(e.classes >= 1, "at least one class");
    return e;
}

template <class T>
void softmax(Packed<T> z, int axis, double temperature, bool logarithms, OutPacked<T> out, int threads) {
    const Extent e = extent_of(z, axis);
    bool same = z.ndim() == out.ndim();
    for (std::size_t i = 0; same && i < z.ndim(); ++i) same = z.shape(i) == out.shape(i);
    require(same, "out must have the shape of the logits");
    require(temperature > 0.0, "the temperature must be above 0");
    require_aligned(out);
    const T* from = z.data();
    T* to = out.data();
    const auto kind = logarithms ? luce::Softmax::logarithms : luce::Softmax::probabilities;
    if (z.size() < 4096) return luce::softmax<T>(kind, from, e.outer, e.classes, e.inner, temperature, to, nullptr, 1);
    nb::gil_scoped_release free;
    luce::softmax<T>(kind, from, e.outer, e.classes, e.inner, temperature, to, nullptr, threads);
}

// 16-bit floats by their bits; the axis is the last one.
void softmax_half(Packed<std::uint16_t> z, bool brain, double temperature, bool logarithms,
                  OutPacked<std::uint16_t> out, int threads) {
    const Extent e = extent_of(z, -1);
    require(z.size() == out.size(), "out must have the shape of the logits");
    require(temperature > 0.0, "the temperature must be above 0");
    require_aligned(out);
    nb::gil_scoped_release free;
    luce::softmax_half(logarithms ? luce::Softmax::logarithms : luce::Softmax::probabilities,
                       brain ? luce::Half::bfloat16 : luce::Half::float16, z.data(), e.outer, e.classes, temperature,
                       out.data(), threads);
}

template <class T>
void logsumexp(Packed<T> z, int axis, OutPacked<T> total, int threads) {
    const Extent e = extent_of(z, axis);
    require(static_cast<Index>(total.size()) == e.outer * e.inner, "one total for each row");
    require_aligned(total);
    nb::gil_scoped_release free;
    luce::softmax<T>(luce::Softmax::total, z.data(), e.outer, e.classes, e.inner, 1.0, nullptr, total.data(), threads);
}

// The sum of the losses, and the first row whose label is not a class, or -1.
template <class T>
std::pair<double, Index> loss_of_logits(Packed<T> z, Vector<Index> labels, std::optional<Vector<double>> weights,
                                        double scale, std::optional<OutPacked<T>> gradient, int threads) {
    require(z.ndim() == 2 && z.shape(1) >= 1, "logits must be rows x classes");
    require_aligned(z);
    require_aligned(labels);
    if (weights) require_aligned(*weights);
    if (gradient) require_aligned(*gradient);
    require(labels.shape(0) == z.shape(0), "one label for each row");
    require(!weights || weights->shape(0) == z.shape(0), "one weight for each row");
    require(
        !gradient || (gradient->ndim() == 2 && gradient->shape(0) == z.shape(0) && gradient->shape(1) == z.shape(1)),
        "the gradient must have the shape of the logits");
    T* const to = gradient ? gradient->data() : nullptr;
    nb::gil_scoped_release free;
    const luce::CrossEntropy found =
        luce::cross_entropy_of_logits<T>(z.data(), labels.data(), weights ? weights->data() : nullptr, scale,
                                         static_cast<Index>(z.shape(0)), static_cast<Index>(z.shape(1)), to, threads);
    return {found.loss, found.outside};
}

template <class T>
void sigmoid(Packed<T> z, bool logarithm, OutPacked<T> out, int threads) {
    require(z.size() == out.size(), "out must have the shape of the logits");
    require_aligned(z);
    require_aligned(out);
    nb::gil_scoped_release free;
    luce::sigmoid<T>(z.data(), static_cast<Index>(z.size()), logarithm, out.data(), threads);
}

template <class T>
void bind_softmax(nb::module_& m) {
    m.def("softmax", &softmax<T>, "logits"_a.noconvert(), "axis"_a, "temperature"_a, "logarithms"_a,
          "out"_a.noconvert(), "threads"_a);
    m.def("logsumexp", &logsumexp<T>, "logits"_a.noconvert(), "axis"_a, "total"_a.noconvert(), "threads"_a);
    m.def("loss_of_logits", &loss_of_logits<T>, "logits"_a.noconvert(), "labels"_a.noconvert(),
          "weights"_a.none().noconvert(), "scale"_a, "gradient"_a.none().noconvert(), "threads"_a);
    m.def("sigmoid", &sigmoid<T>, "logits"_a.noconvert(), "logarithm"_a, "out"_a.noconvert(), "threads"_a);
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);
    m.doc() = "The core: arrays in, arrays out. See core/*.h for the formulas.";
    nb::class_<Design>(m, "Design")
        .def(nb::init<std::optional<Strided<std::uint8_t>>, std::optional<Strided<luce::Float16>>,
                      std::optional<Strided<float>>, std::optional<Strided<double>>,
                      std::optional<Vector<std::int64_t>>, std::optional<Vector<std::int32_t>>,
                      std::optional<Vector<float>>, std::optional<Vector<double>>, Index, Index>(),
             "dense8"_a.none().noconvert(), "dense16"_a.none().noconvert(), "dense32"_a.none().noconvert(),
             "dense64"_a.none().noconvert(), "starts"_a.none().noconvert(), "indices"_a.none().noconvert(),
             "values"_a.none().noconvert(), "doubles"_a.none().noconvert(), "sparse_columns"_a, "rows"_a)
        .def_prop_ro("can_be_single", [](const Design& d) { return luce::can_be_single(d.x); });
    nb::class_<Labels>(m, "Labels")
        .def(nb::init<Vector<std::int32_t>, std::optional<Vector<double>>, int>(), "codes"_a.noconvert(),
             "weights"_a.none().noconvert(), "classes"_a);
    m.def("forward", &forward, "design"_a, "weights"_a.noconvert(), "bias"_a.noconvert(), "logits"_a.noconvert(),
          "threads"_a, "single"_a = false);
    m.def("along", &along, "logits"_a.noconvert(), "direction"_a.noconvert(), "step"_a, "labels"_a, "threads"_a);
    m.def("gradient_at", &gradient_at, "design"_a, "logits"_a.noconvert(), "direction"_a.none().noconvert(), "step"_a,
          "labels"_a, "correction"_a.none().noconvert(), "gradient"_a.noconvert(), "threads"_a, "single"_a = false);
    m.def("whole_step", &whole_step, "design"_a, "logits"_a.noconvert(), "v"_a.noconvert(), "c"_a.noconvert(),
          "labels"_a, "along"_a.noconvert(), "gradient"_a.noconvert(), "threads"_a, "single"_a = false);
    m.def("residuals", &residuals, "logits"_a.noconvert(), "labels"_a, "correction"_a.none().noconvert(),
          "residual"_a.noconvert(), "threads"_a);
    m.def("transposed_product", &transposed_product, "design"_a, "residual"_a.noconvert(), "gradient"_a.noconvert(),
          "threads"_a);
    m.def("chunks", &chunks_of, "rows"_a, "width"_a, "all"_a);
    m.def("add_chunks", &add_chunks, "parts"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("cross_entropy_chunks", &cross_entropy_chunks, "design"_a, "all"_a, "weights"_a.noconvert(),
          "bias"_a.noconvert(), "labels"_a, "correction"_a.none().noconvert(), "parts"_a.noconvert(), "threads"_a,
          "single"_a);
    m.def("intercept_curvature_chunks", &intercept_curvature_chunks, "design"_a, "all"_a, "weights"_a.noconvert(),
          "bias"_a.noconvert(), "labels"_a, "parts"_a.noconvert(), "threads"_a);
    m.def("row_curvature_at", &row_curvature_at, "design"_a, "weights"_a.noconvert(), "bias"_a.noconvert(), "labels"_a,
          "curvature"_a.noconvert(), "threads"_a);
    m.def("hessian_product", &hessian_product, "design"_a, "logits"_a.noconvert(), "labels"_a, "v"_a.noconvert(),
          "c"_a.noconvert(), "product"_a.noconvert(), "threads"_a, "single"_a = false);
    m.def("intercept_curvature", &intercept_curvature, "logits"_a.noconvert(), "labels"_a, "hessian"_a.noconvert(),
          "threads"_a);
    m.def("curvature_factors", &curvature_factors, "x"_a.noconvert(), "size"_a, "weights"_a.noconvert(),
          "ridge"_a.noconvert(), "factors"_a.noconvert(), "threads"_a, "exact"_a = false);
    m.def("coupled_factor", &coupled_factor, "x"_a.noconvert(), "size"_a, "shares"_a.noconvert(),
          "weights"_a.noconvert(), "ridge"_a.noconvert(), "factor"_a.noconvert(), "threads"_a, "exact"_a = false);
    m.def("whole_curvature", &whole_curvature, "x"_a.noconvert(), "size"_a, "shares"_a.noconvert(),
          "weights"_a.noconvert(), "curvature"_a.noconvert(), "threads"_a);
    m.def("descend", &descend, "curvature"_a.noconvert(), "weights"_a.noconvert(), "gradient"_a.noconvert(), "l1"_a,
          "intercepts"_a, "enough"_a, "most"_a, "direction"_a.noconvert());
    m.def("symmetric_eigen", &symmetric_eigen, "a"_a.noconvert(), "values"_a.noconvert());
    m.def("solve_symmetric", &solve_symmetric, "a"_a.noconvert(), "b"_a.noconvert(), "rank"_a, "x"_a.noconvert());
    m.def("update_curvature", &update_curvature, "h"_a.noconvert(), "step"_a.noconvert(), "change"_a.noconvert());
    m.def("row_curvature", &row_curvature, "logits"_a.noconvert(), "labels"_a, "curvature"_a.noconvert(), "threads"_a);
    m.def("curvature_along", &curvature_along, "logits"_a.noconvert(), "labels"_a, "basis"_a.noconvert(),
          "curvature"_a.noconvert(), "threads"_a);
    m.def("submatrix", &submatrix, "design"_a, "rows"_a.noconvert(), "columns"_a.noconvert(), "centre"_a.noconvert(),
          "spread"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("column_sums", &column_sums, "design"_a, "all"_a, "parts"_a.noconvert(), "threads"_a);
    m.def("column_squares", &column_squares, "design"_a, "all"_a, "centre"_a.noconvert(), "parts"_a.noconvert(),
          "threads"_a);
    m.def("row_energy", &row_energy, "design"_a, "centre"_a.noconvert(), "variance"_a.noconvert(),
          "energy"_a.noconvert(), "threads"_a);
    m.def("row_hash", &row_hash, "design"_a, "seed"_a, "hash"_a.noconvert(), "threads"_a);
    m.def("weighted_squares", &weighted_squares, "design"_a, "rows"_a.noconvert(), "weights"_a.noconvert(),
          "out"_a.noconvert(), "threads"_a);
    m.def("bend", &bend<float>, "x"_a.noconvert(), "knots"_a.noconvert(), "table"_a.noconvert(), "sizes"_a.noconvert(),
          "out"_a.noconvert());
    m.def("bend", &bend<double>, "x"_a.noconvert(), "knots"_a.noconvert(), "table"_a.noconvert(), "sizes"_a.noconvert(),
          "out"_a.noconvert());
    m.def("pair_sums", &pair_sums, "codes"_a.noconvert(), "parts"_a, "group"_a.noconvert(), "groups"_a,
          "numbers"_a.noconvert(), "pairs"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    nb::class_<QuasiNewton>(m, "QuasiNewton")
        .def(nb::init<Vector<Index>, Vector<Index>, int, int>(), "exact"_a.noconvert(), "rest"_a.noconvert(),
             "outputs"_a, "memory"_a)
        .def("take_metric", &QuasiNewton::take_metric, "basis"_a.noconvert(), "factors"_a.noconvert(),
             "diagonal"_a.noconvert())
        .def("forget", &QuasiNewton::forget)
        .def("remember", &QuasiNewton::remember, "step"_a.noconvert(), "change"_a.noconvert(), "threads"_a)
        .def("__len__", &QuasiNewton::size)
        .def("pair", &QuasiNewton::pair, "i"_a, "step"_a.noconvert(), "change"_a.noconvert())
        .def("direction", &QuasiNewton::direction, "gradient"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("predict", &predict<double>, "x"_a.noconvert(), "coef"_a.noconvert(), "bias"_a.noconvert(), "largest"_a,
          "out"_a.noconvert());
    m.def("predict", &predict<float>, "x"_a.noconvert(), "coef"_a.noconvert(), "bias"_a.noconvert(), "largest"_a,
          "out"_a.noconvert());
    nb::class_<PairedHistory>(m, "PairedHistory")
        .def(nb::init<Index, Index, int>(), "length"_a, "paired"_a, "memory"_a)
        .def("forget", &PairedHistory::forget)
        .def("remember", &PairedHistory::remember, "step"_a.noconvert(), "change"_a.noconvert(), "threads"_a)
        .def("direction", &PairedHistory::direction, "gradient"_a.noconvert(), "first"_a, "out"_a.noconvert(),
             "threads"_a);
    nb::class_<Columns>(m, "Columns")
        .def(nb::init<const Design&, Vector<Index>, Vector<Index>>(), "design"_a, "rows"_a.noconvert(),
             "columns"_a.noconvert())
        .def("descend", &Columns::descend, "shares"_a.noconvert(), "scale"_a.noconvert(), "weights"_a.noconvert(),
             "gradient"_a.noconvert(), "l1"_a, "l2"_a, "intercepts"_a, "enough"_a, "most"_a, "direction"_a.noconvert());
    bind_json(m);
    bind_network(m);
    bind_blocks(m);
    bind_patches(m);
    bind_sparse(m);
    bind_text(m);
    bind_softmax<float>(m);
    bind_softmax<double>(m);
    m.def("softmax_half", &softmax_half, "logits"_a.noconvert(), "brain"_a, "temperature"_a, "logarithms"_a,
          "out"_a.noconvert(), "threads"_a);
    m.def("instruction_set", [] { return std::string(luce::kernels().name); });
}
