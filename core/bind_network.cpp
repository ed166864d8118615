// The network for Python: a design matrix, labels and an order of rows in, weights and logits out.
#include "bind_network.h"

#include <nanobind/stl/vector.h>

#include <cmath>
#include <vector>

#include "bind_design.h"
#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace bound;

namespace {

using OutBias = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

class Network {
public:
    Network(const Network&) = delete;
    Network(const std::vector<Index>& hidden, Index dense, Index sparse, int classes, bool gelu)
        : shape_{hidden, dense, sparse, classes, gelu}, network_(checked(shape_)) {}

    void get(int layer, OutPanel weights, OutBias bias, int moment) const {
        check(layer, weights.shape(0), weights.shape(1), bias.shape(0));
        network_.get(layer, kept(moment), weights.data(), bias.data());
    }
    void set(int layer, Matrix<float> weights, Vector<float> bias, int moment) {
        check(layer, weights.shape(0), weights.shape(1), bias.shape(0));
        network_.set(layer, kept(moment), weights.data(), bias.data());
    }
    std::uint64_t steps() const { return network_.steps(); }
    void set_steps(std::uint64_t steps) { network_.set_steps(steps); }
    double epoch(const Design& d, Vector<double> shift, Vector<double> scale, const Labels& labels, Vector<Index> order,
                 double rate, double decay, double dropout, Index batch, std::uint64_t seed, int threads) {
        check(d, shift, scale);
        check(d, labels, order);
        require(rate >= 0.0 && decay >= 0.0 && dropout >= 0.0 && dropout < 1.0 && batch >= 1, "no such training");
        return watched([&](const luce::Stop& stop) {
            return network_.epoch(d.x, {shift.data(), scale.data()}, labels.y, order.data(),
                                  static_cast<Index>(order.shape(0)), {rate, decay, dropout, batch, seed}, threads,
                                  stop);
        });
    }
    double gradient(const Design& d, Vector<double> shift, Vector<double> scale, const Labels& labels,
                    Vector<Index> order, OutVector out, int threads) {
        check(d, shift, scale);
        check(d, labels, order);
        require(static_cast<Index>(out.shape(0)) == network_.parameters(), "a number for each parameter");
        return watched([&](const luce::Stop& stop) {
            return network_.gradient(d.x, {shift.data(), scale.data()}, labels.y, order.data(),
                                     static_cast<Index>(order.shape(0)), out.data(), threads, stop);
        });
    }
    void logits(const Design& d, Vector<double> shift, Vector<double> scale, OutMatrix out, int threads) const {
        check(d, shift, scale);
        require(static_cast<Index>(out.shape(0)) == d.x.rows && static_cast<int>(out.shape(1)) == shape_.outputs(),
                "logits must be rows x outputs");
        watched([&](const luce::Stop& stop) {
            network_.logits(d.x, {shift.data(), scale.data()}, out.data(), threads, stop);
            return 0.0;
        });
    }
    Index parameters() const { return network_.parameters(); }

private:
    // Without Python's lock, but a signal is heard: what its handler raises, such as KeyboardInterrupt, is passed on.
    template <class Work>
    static double watched(const Work& work) {
        bool raised = false;
        const luce::Stop stop = [&raised] {
            nb::gil_scoped_acquire lock;
            raised = PyErr_CheckSignals() != 0;
            return raised;
        };
        double out = 0.0;
        {
            nb::gil_scoped_release free;
            out = work(stop);
        }
        if (raised) throw nb::python_error();
        return out;
    }
    static luce::Kept kept(int moment) {
        require(moment >= 0 && moment <= 2, "no such moment");
        return static_cast<luce::Kept>(moment);
    }
    static const luce::NetworkShape& checked(const luce::NetworkShape& s) {
        require(s.dense >= 0 && s.sparse >= 0 && s.columns() >= 1 && s.classes >= 2, "no such network");
        for (const Index units : s.hidden) require(units >= 1 && units <= 1 << 20, "a layer has no units, or too many");
        return s;
    }
    void check(int layer, std::size_t inputs, std::size_t outputs, std::size_t biases) const {
        require(layer >= 0 && layer < network_.layers(), "no such layer");
        require(static_cast<Index>(inputs) == network_.inputs(layer) &&
                    static_cast<Index>(outputs) == network_.outputs(layer) && biases == outputs,
                "weights are inputs x outputs of their layer");
    }
    void check(const Design& d, const Vector<double>& shift, const Vector<double>& scale) const {
        require(d.x.dense_columns == shape_.dense && d.x.sparse.columns == shape_.sparse,
                "the design has other columns than the network");
        require(static_cast<Index>(shift.shape(0)) == shape_.columns() && shift.shape(0) == scale.shape(0),
                "a shift and a scale for each column");
    }
    void check(const Design& d, const Labels& labels, const Vector<Index>& order) const {
        require(labels.rows() == d.x.rows && labels.y.classes == shape_.classes, "a label for each row");
        for (std::size_t i = 0; i < order.shape(0); ++i)
            require(order.data()[i] >= 0 && order.data()[i] < d.x.rows, "the order names a row that is not there");
    }
    luce::NetworkShape shape_;
    luce::Network network_;
};

}  // namespace

void bind_network(nb::module_& m) {
    nb::class_<Network>(m, "Network")
        .def(nb::init<const std::vector<Index>&, Index, Index, int, bool>(), "hidden"_a, "dense"_a, "sparse"_a,
             "classes"_a, "gelu"_a)
        .def("get", &Network::get, "layer"_a, "weights"_a.noconvert(), "bias"_a.noconvert(), "moment"_a = 0)
        .def("set", &Network::set, "layer"_a, "weights"_a.noconvert(), "bias"_a.noconvert(), "moment"_a = 0)
        .def_prop_rw("steps", &Network::steps, &Network::set_steps)
        .def("epoch", &Network::epoch, "design"_a, "shift"_a.noconvert(), "scale"_a.noconvert(), "labels"_a,
             "order"_a.noconvert(), "rate"_a, "decay"_a, "dropout"_a, "batch"_a, "seed"_a, "threads"_a)
        .def("gradient", &Network::gradient, "design"_a, "shift"_a.noconvert(), "scale"_a.noconvert(), "labels"_a,
             "order"_a.noconvert(), "out"_a.noconvert(), "threads"_a)
        .def("logits", &Network::logits, "design"_a, "shift"_a.noconvert(), "scale"_a.noconvert(), "out"_a.noconvert(),
             "threads"_a)
        .def_prop_ro("parameters", &Network::parameters);
}
