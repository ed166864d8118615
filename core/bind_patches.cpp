// Images for Python: arrays in, arrays out.
#include "bind_patches.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "patches.h"

namespace nb = nanobind;
using namespace nb::literals;
using luce::Index;

namespace {

template <class T, int D>
using In = nb::ndarray<const T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T, int D>
using Out = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

Index size_of(std::size_t size) { return static_cast<Index>(size); }

std::vector<float> held(const float* numbers, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) require(std::isfinite(numbers[i]), "a bank of filters must be finite");
    return std::vector<float>(numbers, numbers + count);
}

// A bank that owns its numbers, checked once.
class Bank {
public:
    Bank(Index side, In<float, 2> weights, In<float, 1> offsets, float threshold, float noise, In<float, 2> rows,
         In<float, 2> columns, Index halved)
        : weights_(held(weights.data(), weights.size())),
          offsets_(held(offsets.data(), offsets.size())),
          rows_(held(rows.data(), rows.size())),
          columns_(held(columns.data(), columns.size())),
          taps_(size_of(weights.shape(1))),
          down_(size_of(rows.shape(1))),
          across_(size_of(columns.shape(1))) {
        require(side >= 1 && side <= 1024 && weights.shape(0) >= 1 && taps_ >= 1,
                "a filter or more, of a pixel or more");
        require(offsets.shape(0) == weights.shape(0), "one offset for each filter");
        require(rows.shape(0) >= 1 && columns.shape(0) >= 1, "a cell or more");
        require(std::isfinite(threshold) && noise > 0 && std::isfinite(noise), "a finite threshold, noise above 0");
        for (const auto* shares : {&rows_, &columns_})
            for (const float share : *shares) require(share >= 0, "no share below 0");
        require(halved >= 0 && halved <= 16, "halved 0 to 16 times");
        bank_ = {side,
                 size_of(weights.shape(0)),
                 halved,
                 weights_.data(),
                 offsets_.data(),
                 threshold,
                 noise,
                 size_of(rows.shape(0)),
                 size_of(columns.shape(0)),
                 rows_.data(),
                 columns_.data()};
    }
    Bank(const Bank&) = delete;
    Bank& operator=(const Bank&) = delete;

    const luce::PatchBank& of(const std::vector<luce::Images>& sizes) const {
        require(bank_.halved < size_of(sizes.size()), "images halved as often as the bank needs");
        const luce::Images& images = sizes[bank_.halved];
        const Index side = bank_.side;
        require(taps_ == images.channels * side * side, "the filters are for images of other channels");
        require(down_ == images.height - side + 1 && across_ == images.width - side + 1,
                "the cells are for images of another size");
        return bank_;
    }
    Index features() const { return bank_.features(); }

private:
    std::vector<float> weights_, offsets_, rows_, columns_;
    Index taps_, down_, across_;
    luce::PatchBank bank_;
};

luce::Images images_of(const In<std::uint8_t, 4>& a) {
    return {a.data(), size_of(a.shape(0)), size_of(a.shape(1)), size_of(a.shape(2)), size_of(a.shape(3))};
}

void patch_features(const std::vector<In<std::uint8_t, 4>>& pixels, const std::vector<const Bank*>& held_banks,
                    Index views, Index tone_cells, float tone_scale, Out<float, 2> out, int threads) {
    std::vector<luce::Images> images;
    for (const auto& each : pixels) images.push_back(images_of(each));
    require(!images.empty(), "images, as they are and halved");
    require(views == 1 || views == 2 || views == 4 || views == 8, "1, 2, 4 or 8 views");
    for (const luce::Images& each : images) {
        require(each.count == images[0].count && each.channels == images[0].channels,
                "the same images, halved more and more often");
        require(views < 8 || each.height == each.width, "lines and columns are exchanged in squares alone");
    }
    const luce::Tones tones = {tone_cells, tone_scale};
    require(tone_cells >= 0 && tone_cells <= std::min(images[0].height, images[0].width), "cells of a pixel or more");
    std::vector<luce::PatchBank> banks;
    Index features = tones.features(images[0].channels);
    for (const Bank* bank : held_banks) {
        require(bank != nullptr, "a bank is None");
        banks.push_back(bank->of(images));
        features += bank->features();
    }
    require(size_of(out.shape(0)) == images[0].count && size_of(out.shape(1)) == features,
            "a row for each image, a column for each feature");
    nb::gil_scoped_release free;
    luce::patch_features(images, banks, tones, views, out.data(), threads);
}

void halve(In<std::uint8_t, 4> pixels, Out<std::uint8_t, 4> out, int threads) {
    const luce::Images images = images_of(pixels);
    require(size_of(out.shape(0)) == images.count && size_of(out.shape(1)) == images.height / 2 &&
                size_of(out.shape(2)) == images.width / 2 && size_of(out.shape(3)) == images.channels,
            "as many images of half the height and half the width");
    nb::gil_scoped_release free;
    luce::halve(images, out.data(), threads);
}

void take_patches(In<std::uint8_t, 4> pixels, Index side, float noise, In<std::int64_t, 2> places, Out<float, 2> out,
                  int threads) {
    const luce::Images images = images_of(pixels);
    const Index count = size_of(places.shape(0)), down = images.height - side + 1, across = images.width - side + 1;
    require(side >= 1 && noise > 0 && places.shape(1) == 3, "a place is an image, a line and a column");
    require(size_of(out.shape(0)) == count && size_of(out.shape(1)) == images.channels * side * side,
            "a row for each place, a column for each number");
    for (Index i = 0; i < count; ++i) {
        const std::int64_t* p = places.data() + 3 * i;
        require(p[0] >= 0 && p[0] < images.count && p[1] >= 0 && p[1] < down && p[2] >= 0 && p[2] < across,
                "a place is outside the images");
    }
    nb::gil_scoped_release free;
    luce::take_patches(images, side, noise, places.data(), count, out.data(), threads);
}

void covariance(In<float, 2> x, Out<double, 1> mean, Out<double, 2> out, int threads) {
    const std::size_t width = x.shape(1);
    require(x.shape(0) > 0 && mean.shape(0) == width && out.shape(0) == width && out.shape(1) == width,
            "a row or more; a mean and a covariance of their width");
    nb::gil_scoped_release free;
    luce::covariance(x.data(), size_of(x.shape(0)), size_of(width), mean.data(), out.data(), threads);
}

void gather_by_filter(In<float, 2> x, In<float, 2> filters, In<float, 1> offsets, Out<double, 2> sums,
                      Out<double, 1> weight, int threads) {
    const std::size_t width = x.shape(1), count = filters.shape(0);
    require(filters.shape(1) == width && offsets.shape(0) == count && count > 0, "filters of the width of the rows");
    require(sums.shape(0) == count && sums.shape(1) == width && weight.shape(0) == count, "a sum for each filter");
    nb::gil_scoped_release free;
    luce::gather_by_filter(x.data(), size_of(x.shape(0)), size_of(width), filters.data(), offsets.data(),
                           size_of(count), sums.data(), weight.data(), threads);
}

}  // namespace

void bind_patches(nb::module_& m) {
    nb::class_<Bank>(m, "PatchBank")
        .def(nb::init<Index, In<float, 2>, In<float, 1>, float, float, In<float, 2>, In<float, 2>, Index>(), "side"_a,
             "weights"_a.noconvert(), "offsets"_a.noconvert(), "threshold"_a, "noise"_a, "rows"_a.noconvert(),
             "columns"_a.noconvert(), "halved"_a = 0)
        .def_prop_ro("features", &Bank::features);
    m.def("patch_features", &patch_features, "images"_a, "banks"_a, "views"_a, "tone_cells"_a, "tone_scale"_a,
          "out"_a.noconvert(), "threads"_a);
    m.def("halve", &halve, "images"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("take_patches", &take_patches, "images"_a.noconvert(), "side"_a, "noise"_a, "places"_a.noconvert(),
          "out"_a.noconvert(), "threads"_a);
    m.def("covariance", &covariance, "x"_a.noconvert(), "mean"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("gather_by_filter", &gather_by_filter, "x"_a.noconvert(), "filters"_a.noconvert(), "offsets"_a.noconvert(),
          "sums"_a.noconvert(), "weight"_a.noconvert(), "threads"_a);
}
