// JSON rows for Python: bytes in, arrays out.
#include "bind_json.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "json_rows.h"

namespace nb = nanobind;
using namespace nb::literals;
using luce::Index;

namespace {

constexpr Index MOST_CELLS = Index{1} << 27;  // more are left to others

template <class T>
using Out = nb::ndarray<T, nb::numpy, nb::ndim<2>>;
using Columns = std::vector<std::tuple<std::string, std::string, Index, bool, std::vector<std::string>>>;

void new_reader(luce::JsonRows* self, const Columns& given) {
    std::vector<luce::JsonColumn> columns;
    for (const auto& [name, kind, place, may_miss, levels] : given) {
        if (kind != "number" && kind != "boolean" && kind != "category") throw std::invalid_argument("no such kind");
        columns.push_back({name, place, kind == "category", kind == "boolean", may_miss, levels});
    }
    new (self) luce::JsonRows(std::move(columns));
}

// The first `rows` of each line of `stride` cells.
template <class T>
Out<T> array_of(std::unique_ptr<T[]> cells, Index lines, Index rows, Index stride) {
    T* data = cells.release();
    const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    const std::size_t shape[] = {static_cast<std::size_t>(lines), static_cast<std::size_t>(rows)};
    const std::int64_t strides[] = {stride, 1};
    return Out<T>(data, 2, shape, owner, strides);
}

std::optional<std::tuple<Out<double>, Out<std::int32_t>, std::size_t, std::size_t>> read_rows(
    const luce::JsonRows& reader, const nb::bytes& body, Index most) {
    const std::string_view text(body.c_str(), body.size());
    std::unique_ptr<double[]> numbers;
    std::unique_ptr<std::int32_t[]> codes;
    std::optional<luce::JsonRows::Found> found;
    Index stride = 0;
    {
        nb::gil_scoped_release release;
        stride = std::min<Index>(std::count(text.begin(), text.end(), '{'), most);
        if (stride * std::max(reader.numbers(), reader.levels()) > MOST_CELLS) return {};
        numbers.reset(new double[static_cast<std::size_t>(stride * reader.numbers())]);
        codes.reset(new std::int32_t[static_cast<std::size_t>(stride * reader.levels())]);
        found = reader.read(text, stride, stride, numbers.get(), codes.get());
    }
    if (!found) return {};
    return std::tuple(array_of(std::move(numbers), reader.numbers(), found->rows, stride),
                      array_of(std::move(codes), reader.levels(), found->rows, stride), found->begin, found->end);
}

}  // namespace

void bind_json(nb::module_& m) {
    nb::class_<luce::JsonRows>(m, "JsonRows")
        .def("__init__", &new_reader, "columns"_a)
        .def("read", &read_rows, "body"_a, "most"_a);
}
