// Texts for Python: str in, arrays out.
#include "bind_text.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "ngram.h"
#include "text_scorer.h"
#include "unicode.h"

namespace nb = nanobind;
using namespace nb::literals;
using luce::Index;
using luce::Recipe;

namespace {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::numpy, nb::ndim<1>>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

// A NumPy array that owns the numbers.
template <class Vector>
auto array_of(Vector&& values) {
    auto* held = new Vector(std::move(values));
    const nb::capsule owner(held, [](void* p) noexcept { delete static_cast<Vector*>(p); });
    return Out<typename Vector::value_type>(held->data(), {held->size()}, owner);
}

// The bytes of a str, or none for None.
std::string_view bytes_of(nb::handle text) {
    if (text.is_none()) return {};
    if (!PyUnicode_Check(text.ptr())) throw nb::type_error("a text is a str or None");
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw nb::python_error();
    return {data, static_cast<std::size_t>(size)};
}

// Nobody can change a tuple while the GIL is released.
nb::tuple held(const nb::object& texts) { return nb::steal<nb::tuple>(PySequence_Tuple(texts.ptr())); }

luce::Texts views_of(const nb::tuple& texts) {
    luce::Texts out;
    out.reserve(texts.size());
    for (nb::handle text : texts) out.push_back(bytes_of(text));
    return out;
}

Recipe recipe_of(int words, int characters_least, int characters_most, bool across, int jamo_least, int jamo_most) {
    for (const int size : {words, characters_most, jamo_most}) require(size >= 0 && size <= 16, "n-grams of 0 to 16");
    require(characters_least >= 1 && jamo_least >= 1, "n-grams of 1 or more");
    return {words, characters_least, characters_most, across, jamo_least, jamo_most};
}

auto count_grams(const nb::object& texts, const Recipe& recipe, int threads) {
    const nb::tuple kept = held(texts);
    if (!kept.is_valid()) throw nb::python_error();
    const luce::Texts views = views_of(kept);
    luce::Grams found;
    {
        nb::gil_scoped_release release;
        found = luce::count_grams(views, recipe, threads);
    }
    return std::pair(array_of(std::move(found.starts)), array_of(std::move(found.packed)));
}

auto text_keys(const nb::object& texts, int threads) {
    const nb::tuple kept = held(texts);
    if (!kept.is_valid()) throw nb::python_error();
    const luce::Texts views = views_of(kept);
    std::vector<std::uint64_t> found;
    {
        nb::gil_scoped_release release;
        found = luce::text_keys(views, threads);
    }
    return array_of(std::move(found));
}

auto frequent_buckets(In<std::uint32_t> packed, int least, Index most, int threads) {
    require(least >= 1 && most >= 0, "a text or more");
    std::vector<std::uint32_t> found;
    {
        nb::gil_scoped_release release;
        found = luce::frequent_buckets(packed.data(), static_cast<Index>(packed.shape(0)), least, most, threads);
    }
    return array_of(std::move(found));
}

void check_starts(const In<std::int64_t>& starts, std::size_t stored) {
    require(starts.shape(0) > 0, "starts must have one number more than texts");
    const std::int64_t* s = starts.data();
    const std::size_t n = starts.shape(0) - 1;
    require(s[0] == 0 && s[n] == static_cast<std::int64_t>(stored), "starts must run from 0 to what is stored");
    for (std::size_t i = 0; i < n; ++i) require(s[i] <= s[i + 1], "starts must not fall");
}

luce::Vocabulary vocabulary_of(In<std::uint32_t> buckets) {
    for (std::size_t i = 0; i < buckets.shape(0); ++i)
        require(buckets.data()[i] < luce::BUCKETS, "a bucket is out of range");
    require(buckets.shape(0) < (1u << 30), "too many n-grams");
    return {buckets.data(), static_cast<Index>(buckets.shape(0))};
}

auto known_grams(const luce::Vocabulary& vocabulary, In<std::int64_t> starts, In<std::uint32_t> packed, int threads) {
    check_starts(starts, packed.shape(0));
    luce::Known found;
    {
        nb::gil_scoped_release release;
        const Index texts = static_cast<Index>(starts.shape(0)) - 1;
        found = luce::known_grams(starts.data(), packed.data(), texts, vocabulary, threads);
    }
    return std::tuple(array_of(std::move(found.starts)), array_of(std::move(found.places)),
                      array_of(std::move(found.counts)));
}

void check_places(const In<std::int32_t>& places, Index columns) {
    for (std::size_t e = 0; e < places.shape(0); ++e)
        require(places.data()[e] >= 0 && places.data()[e] < columns, "a place is out of range");
}

void information(In<std::int64_t> starts, In<std::int32_t> places, In<std::int32_t> codes, int classes,
                 In<std::int32_t> fold, int folds, Table out, Counts often, int threads) {
    check_starts(starts, places.shape(0));
    const Index columns = static_cast<Index>(out.shape(1));
    check_places(places, columns);
    const std::size_t texts = starts.shape(0) - 1;
    require(codes.shape(0) == texts && fold.shape(0) == texts, "a class and a fold for each text");
    require(classes >= 2 && folds >= 1 && out.shape(0) == static_cast<std::size_t>(folds) + 1, "a row for each fold");
    require(often.shape(0) == out.shape(1), "a count for each column");
    for (std::size_t i = 0; i < texts; ++i)
        require(codes.data()[i] >= 0 && codes.data()[i] < classes && fold.data()[i] >= 0 && fold.data()[i] < folds,
                "a class or a fold is out of range");
    nb::gil_scoped_release release;
    luce::information(starts.data(), places.data(), static_cast<Index>(texts), codes.data(), classes, fold.data(),
                      folds, columns, out.data(), often.data(), threads);
}

auto weigh(In<std::int64_t> starts, In<std::int32_t> places, In<std::uint8_t> counts, In<float> scale, int threads) {
    check_starts(starts, places.shape(0));
    require(counts.shape(0) == places.shape(0), "places and counts differ in length");
    check_places(places, static_cast<Index>(scale.shape(0)));
    luce::Weighed found;
    {
        nb::gil_scoped_release release;
        found = luce::weigh(starts.data(), places.data(), counts.data(), static_cast<Index>(starts.shape(0)) - 1,
                            scale.data(), threads);
    }
    return std::tuple(array_of(std::move(found.starts)), array_of(std::move(found.places)),
                      array_of(std::move(found.values)));
}

auto text_rows(const nb::object& texts, const Recipe& recipe, const luce::Vocabulary& vocabulary, In<float> scale,
               int threads) {
    require(static_cast<Index>(scale.shape(0)) == vocabulary.size(), "a scale for each n-gram");
    const nb::tuple kept = held(texts);
    if (!kept.is_valid()) throw nb::python_error();
    const luce::Texts views = views_of(kept);
    luce::Weighed found;
    {
        nb::gil_scoped_release release;
        found = luce::text_rows(views, recipe, vocabulary, scale.data(), threads);
    }
    return std::tuple(array_of(std::move(found.starts)), array_of(std::move(found.places)),
                      array_of(std::move(found.values)));
}

void new_scorer(luce::TextScorer* self, const Recipe& recipe, In<std::uint32_t> buckets, In<float> scale,
                nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu> weights, In<double> intercept,
                In<double> factor, In<double> shift) {
    const std::size_t grams = buckets.shape(0);
    require(grams > 0 && grams < (1u << 30) && scale.shape(0) == grams && weights.shape(0) == grams,
            "buckets, scale and weights differ in length");
    const std::size_t outputs = weights.shape(1);
    require(outputs > 0 && intercept.shape(0) == outputs && factor.shape(0) == outputs && shift.shape(0) == outputs,
            "weights, intercept, factor and shift differ in width");
    for (std::size_t i = 0; i < grams; ++i) require(buckets.data()[i] < luce::BUCKETS, "a bucket is out of range");
    new (self) luce::TextScorer(recipe, buckets.data(), scale.data(), static_cast<Index>(grams), weights.data(),
                                intercept.data(), factor.data(), shift.data(), static_cast<int>(outputs));
}

auto probabilities(const luce::TextScorer& scorer, const nb::object& texts, int threads) {
    const nb::tuple kept = held(texts);
    if (!kept.is_valid()) throw nb::python_error();
    const luce::Texts views = views_of(kept);
    const std::size_t classes = static_cast<std::size_t>(scorer.classes());
    auto* out = new std::vector<double>(views.size() * classes);
    const nb::capsule owner(out, [](void* p) noexcept { delete static_cast<std::vector<double>*>(p); });
    {
        nb::gil_scoped_release release;
        scorer.probabilities(views, out->data(), threads);
    }
    return nb::ndarray<double, nb::numpy, nb::ndim<2>>(out->data(), {views.size(), classes}, owner);
}

auto occurrences(const nb::str& text, const Recipe& recipe) {
    std::vector<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> out;
    for (const luce::Occurrence& o : luce::occurrences(bytes_of(text), recipe))
        out.emplace_back(o.bucket, o.begin, o.end);
    return out;
}

// The text as its n-grams see it.
std::string normalised(const nb::str& text) {
    luce::unicode::Text scratch, out;
    luce::unicode::normalise(bytes_of(text), false, scratch, out);
    nb::str joined =
        nb::steal<nb::str>(PyUnicode_FromKindAndData(4, out.codes.data(), static_cast<Py_ssize_t>(out.codes.size())));
    return nb::cast<std::string>(joined);
}

}  // namespace

void bind_text(nb::module_& m) {
    nb::class_<Recipe>(m, "Recipe")
        .def(
            "__init__",
            [](Recipe* self, int words, int characters_least, int characters_most, bool across, int jamo_least,
               int jamo_most) {
                new (self) Recipe(recipe_of(words, characters_least, characters_most, across, jamo_least, jamo_most));
            },
            "words"_a, "characters_least"_a, "characters_most"_a, "across"_a, "jamo_least"_a, "jamo_most"_a);
    nb::class_<luce::Vocabulary>(m, "Vocabulary")
        .def(
            "__init__",
            [](luce::Vocabulary* self, In<std::uint32_t> buckets) {
                new (self) luce::Vocabulary(vocabulary_of(buckets));
            },
            "buckets"_a.noconvert())
        .def("known", &known_grams, "starts"_a.noconvert(), "packed"_a.noconvert(), "threads"_a);
    nb::class_<luce::TextScorer>(m, "TextScorer")
        .def("__init__", &new_scorer, "recipe"_a, "buckets"_a.noconvert(), "scale"_a.noconvert(),
             "weights"_a.noconvert(), "intercept"_a.noconvert(), "factor"_a.noconvert(), "shift"_a.noconvert(),
             nb::keep_alive<1, 5>())
        .def("probabilities", &probabilities, "texts"_a, "threads"_a);
    m.def("text_rows", &text_rows, "texts"_a, "recipe"_a, "vocabulary"_a, "scale"_a.noconvert(), "threads"_a);
    m.attr("BUCKETS") = luce::BUCKETS;
    m.def("count_grams", &count_grams, "texts"_a, "recipe"_a, "threads"_a);
    m.def("text_keys", &text_keys, "texts"_a, "threads"_a);
    m.def("frequent_buckets", &frequent_buckets, "packed"_a.noconvert(), "least"_a, "most"_a, "threads"_a);
    m.def("information", &information, "starts"_a.noconvert(), "places"_a.noconvert(), "codes"_a.noconvert(),
          "classes"_a, "fold"_a.noconvert(), "folds"_a, "out"_a.noconvert(), "often"_a.noconvert(), "threads"_a);
    m.def("weigh", &weigh, "starts"_a.noconvert(), "places"_a.noconvert(), "counts"_a.noconvert(),
          "scale"_a.noconvert(), "threads"_a);
    m.def("occurrences", &occurrences, "text"_a, "recipe"_a);
    m.def("normalised", &normalised, "text"_a);
}
