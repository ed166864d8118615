// Softmax over blocks of classes for Python: a sparse design and labels in, values, gradients, bounds out.
#include "bind_blocks.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <tuple>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "bind_design.h"
#include "class_blocks.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace bound;

namespace {

using Point = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Halves = nb::ndarray<std::uint16_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using OutPoint = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

class ClassBlocks {
public:
    ClassBlocks(const Design& d, const Labels& labels)
        : rows_(d.x.rows), columns_(d.x.columns()), classes_(labels.y.classes), core_(checked(d, labels), labels.y) {}

    std::pair<double, double> gradient(Point w, double penalty, OutPoint g, OutVector slope, int threads) const {
        check(w), check(g), check(slope);
        nb::gil_scoped_release free;
        const auto found = core_.gradient(w.data(), penalty, g.data(), slope.data(), threads);
        return {found.value, found.square};
    }
    double masses(Point w, Vector<double> bias, OutVector share, OutVector curve, int threads) const {
        check(w), check(bias), check(share), check(curve);
        nb::gil_scoped_release free;
        return core_.masses(w.data(), bias.data(), share.data(), curve.data(), threads);
    }
    std::tuple<double, double, double> bound(Point w, Vector<double> bias, double penalty, Vector<double> keep,
                                             Vector<double> gain, int threads) const {
        check(w), check(bias), check(keep), check(gain);
        nb::gil_scoped_release free;
        const auto found = core_.bound(w.data(), bias.data(), penalty, keep.data(), gain.data(), threads);
        return {found.loss, found.square, found.divergence};
    }
    void logits(Point w, Vector<double> bias, OutMatrix out, int threads) const {
        check(w), check(bias);
        require(static_cast<int>(out.shape(0)) == classes_ && static_cast<Index>(out.shape(1)) == rows_,
                "logits must be classes x rows");
        nb::gil_scoped_release free;
        core_.logits(w.data(), bias.data(), out.data(), threads);
    }
    void take_curvature(Point w, double penalty, Halves inverse, int threads) const {
        check(w), check(inverse);
        nb::gil_scoped_release free;
        core_.take_curvature(w.data(), penalty, inverse.data(), threads);
    }
    std::tuple<double, double, double, double> products(Point gradient, Point before, Halves inverse, Halves direction,
                                                        double length, int threads) const {
        const luce::BlockStep step = taken(gradient, before, inverse, direction, length);
        double sums[4];
        {
            nb::gil_scoped_release free;
            core_.products(step, sums, threads);
        }
        return {sums[0], sums[1], sums[2], sums[3]};
    }
    double direct(Point gradient, Point before, Halves inverse, Halves direction, double of_gradient, double of_change,
                  double of_step, int threads) const {
        const luce::BlockStep step = taken(gradient, before, inverse, direction, 1.0);
        nb::gil_scoped_release free;
        return core_.direct(step, static_cast<float>(of_gradient), static_cast<float>(of_change),
                            static_cast<float>(of_step), threads);
    }
    double add_scaled(OutPoint a, Halves b, double factor, int threads) const {
        check(a), check(b);
        nb::gil_scoped_release free;
        return core_.add_scaled(a.data(), b.data(), static_cast<float>(factor), threads);
    }

private:
    static const luce::Csr& checked(const Design& d, const Labels& labels) {
        require(d.x.dense_columns == 0 && d.x.sparse.columns > 0, "the design must be sparse alone");
        require(labels.rows() == d.x.rows, "labels and design differ in rows");
        require(labels.y.classes > 2, "more than two classes");
        return d.x.sparse;
    }
    template <class T>
    void check(const nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>& point) const {
        require(static_cast<Index>(point.shape(0)) == core_.blocks() &&
                    static_cast<Index>(point.shape(1)) == columns_ + 1 && point.shape(2) == luce::BLOCK,
                "a point must be blocks x (columns + 1) x classes of a block");
    }
    template <class T>
    void check(const nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>& numbers) const {
        require(static_cast<Index>(numbers.shape(0)) == core_.blocks() * luce::BLOCK, "a number for each class");
    }
    luce::BlockStep taken(const Point& gradient, const Point& before, const Halves& inverse, Halves& direction,
                          double length) const {
        check(gradient), check(before), check(inverse), check(direction);
        return {gradient.data(), before.data(), inverse.data(), direction.data(), static_cast<float>(length)};
    }

    Index rows_, columns_;
    int classes_;
    luce::ClassBlocks core_;
};

// What was freed goes back to the system where the allocator would keep it; glibc keeps up to 32 MB of each array.
void release_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

}  // namespace

void bind_blocks(nb::module_& m) {
    m.attr("BLOCK") = luce::BLOCK;
    m.def("release_memory", &release_memory);
    nb::class_<ClassBlocks>(m, "ClassBlocks")
        .def(nb::init<const Design&, const Labels&>(), "design"_a, "labels"_a, nb::keep_alive<1, 2>(),
             nb::keep_alive<1, 3>())
        .def("gradient", &ClassBlocks::gradient, "w"_a.noconvert(), "penalty"_a, "g"_a.noconvert(),
             "slope"_a.noconvert(), "threads"_a)
        .def("masses", &ClassBlocks::masses, "w"_a.noconvert(), "bias"_a.noconvert(), "share"_a.noconvert(),
             "curve"_a.noconvert(), "threads"_a)
        .def("bound", &ClassBlocks::bound, "w"_a.noconvert(), "bias"_a.noconvert(), "penalty"_a, "keep"_a.noconvert(),
             "gain"_a.noconvert(), "threads"_a)
        .def("logits", &ClassBlocks::logits, "w"_a.noconvert(), "bias"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
        .def("take_curvature", &ClassBlocks::take_curvature, "w"_a.noconvert(), "penalty"_a, "inverse"_a.noconvert(),
             "threads"_a)
        .def("products", &ClassBlocks::products, "gradient"_a.noconvert(), "before"_a.noconvert(),
             "inverse"_a.noconvert(), "direction"_a.noconvert(), "length"_a, "threads"_a)
        .def("direct", &ClassBlocks::direct, "gradient"_a.noconvert(), "before"_a.noconvert(), "inverse"_a.noconvert(),
             "direction"_a.noconvert(), "of_gradient"_a, "of_change"_a, "of_step"_a, "threads"_a)
        .def("add_scaled", &ClassBlocks::add_scaled, "a"_a.noconvert(), "b"_a.noconvert(), "factor"_a, "threads"_a);
}
