#include "patches.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"
#include "patch_kernels.h"

namespace luce {
namespace {

constexpr Index IMAGES = 16;    // of a block that a thread takes
constexpr Index PATCHES = 512;  // likewise
constexpr float MIDDLE = 128;   // pixels are centred: nothing changes but rounding

// Where the numbers of a patch lie, from its corner on, in an image of one plane a channel.
std::vector<Index> taps_of(Index channels, Index height, Index width, Index side) {
    std::vector<Index> taps;
    for (Index c = 0; c < channels; ++c)
        for (Index y = 0; y < side; ++y)
            for (Index x = 0; x < side; ++x) taps.push_back((c * height + y) * width + x);
    return taps;
}

// Filters by panels, number after number, zeros beside the last filter.
std::vector<float> panels_of(const float* filters, Index count, Index taps) {
    const Index panel = patch_kernels().panel, panels = (count + panel - 1) / panel;
    std::vector<float> out(panels * taps * panel);
    for (Index k = 0; k < count; ++k)
        for (Index t = 0; t < taps; ++t) out[(k / panel * taps + t) * panel + k % panel] = filters[k * taps + t];
    return out;
}

std::vector<float> padded(const float* numbers, Index count) {
    const Index panel = patch_kernels().panel;
    std::vector<float> out((count + panel - 1) / panel * panel);
    std::copy_n(numbers, count, out.begin());
    return out;
}

// A bank made ready for images of one size.
struct Ready {
    PatchBank bank;
    Index across, down;  // places
    std::vector<Index> taps, first, last;
    Index width;  // of an image
    std::vector<float> panels, offsets;

    Ready(const PatchBank& b, const Images& images)
        : bank(b),
          across(images.width - b.side + 1),
          down(images.height - b.side + 1),
          taps(taps_of(images.channels, images.height, images.width, b.side)),
          width(images.width),
          panels(panels_of(b.weights, b.filters, static_cast<Index>(taps.size()))),
          offsets(padded(b.offsets, b.filters)) {
        for (Index c = 0; c < b.column_cells; ++c) {
            const float *begin = b.columns + c * across, *end = begin + across;
            const float* from = std::find_if(begin, end, [](float share) { return share != 0.0f; });
            const float* to = end;
            while (to > from && to[-1] == 0.0f) --to;
            first.push_back(from - begin);
            last.push_back(to - begin);
        }
    }
};

// What one thread needs beside the features.
struct Scratch {
    std::vector<std::vector<float>> planes;  // of the image halved 0, 1, ... times
    std::vector<float> inverse, responses, both, line, cells, row;
};

// view: what is exchanged: 1 left and right, 2 top and bottom, 4 lines and columns.
void load_planes(const Images& images, Index image, Index view, std::vector<float>& planes) {
    const Index height = images.height, width = images.width, size = height * width;
    const std::uint8_t* pixels = images.pixels + image * size * images.channels;
    const Index right = view & 4 ? width : 1, down = view & 4 ? 1 : width;
    const Index from = (view & 2 ? (height - 1) * down : 0) + (view & 1 ? (width - 1) * right : 0);
    const Index step_right = view & 1 ? -right : right, step_down = view & 2 ? -down : down;
    planes.resize(images.channels * size);
    for (Index c = 0; c < images.channels; ++c)
        for (Index y = 0; y < height; ++y)
            for (Index x = 0; x < width; ++x) {
                const Index pixel = from + y * step_down + x * step_right;
                planes[c * size + y * width + x] = static_cast<float>(pixels[pixel * images.channels + c]) - MIDDLE;
            }
}

void run_bank(const Ready& ready, const std::vector<float>& planes, Scratch& s, float* out) {
    const PatchKernels& k = patch_kernels();
    const PatchBank& b = ready.bank;
    const Index taps = static_cast<Index>(ready.taps.size()), panel = k.panel, line = b.column_cells * 2 * panel;
    const Index width = ready.width;
    s.inverse.resize(ready.down * ready.across);
    s.responses.resize(ready.across * panel);
    s.both.resize(2 * ready.across * panel);
    s.line.resize(line);
    s.cells.resize(b.row_cells * line);
    for (Index y = 0; y < ready.down; ++y)
        k.contrast(&planes[y * width], ready.across, ready.taps.data(), taps, b.noise, &s.inverse[y * ready.across]);
    for (Index begin = 0; begin < b.filters; begin += panel) {
        std::fill(s.cells.begin(), s.cells.end(), 0.0f);
        for (Index y = 0; y < ready.down; ++y) {
            k.respond(&planes[y * width], 1, ready.across, ready.taps.data(), taps, &ready.panels[begin * taps],
                      s.responses.data());
            const PatchLine places = {
                ready.across, &s.inverse[y * ready.across], &ready.offsets[begin], b.threshold, b.column_cells,
                b.columns,    ready.first.data(),           ready.last.data()};
            k.pool(places, s.responses.data(), s.both.data(), s.line.data());
            for (Index c = 0; c < b.row_cells; ++c) {
                const float share = b.rows[c * ready.down + y];
                if (share != 0.0f) k.add_scaled(&s.cells[c * line], s.line.data(), share, line);
            }
        }
        const Index here = std::min(panel, b.filters - begin);
        for (Index c = 0; c < b.row_cells * b.column_cells * 2; ++c)
            for (Index f = 0; f < here; ++f) out[c * b.filters + begin + f] = std::sqrt(s.cells[c * panel + f]);
    }
}

// Sums of whole numbers are exact, so the order of pixels and views leaves the bits alone but for the last mean.
void run_tones(const Images& images, Index image, const Tones& tones, Index views, float* out) {
    const Index height = images.height, width = images.width, channels = images.channels, cells = tones.cells;
    const std::uint8_t* pixels = images.pixels + image * height * width * channels;
    std::vector<double> found;  // by cell, channel: the mean, the root of the variance
    for (Index row = 0; row < cells; ++row)
        for (Index column = 0; column < cells; ++column)
            for (Index c = 0; c < channels; ++c) {
                const Index top = row * height / cells, bottom = ((row + 1) * height + cells - 1) / cells;
                const Index left = column * width / cells, right = ((column + 1) * width + cells - 1) / cells;
                std::uint64_t sum = 0, squares = 0;  // count * squares stays below 2^64 for 2^24 pixels
                for (Index y = top; y < bottom; ++y)
                    for (Index x = left; x < right; ++x) {
                        const std::uint64_t pixel = pixels[(y * width + x) * channels + c];
                        sum += pixel;
                        squares += pixel * pixel;
                    }
                const std::uint64_t count = static_cast<std::uint64_t>((bottom - top) * (right - left));
                const double all = static_cast<double>(count);
                found.push_back(static_cast<double>(sum) / all);
                found.push_back(std::sqrt(static_cast<double>(count * squares - sum * sum)) / all);
            }
    const Index each = 2 * channels;
    for (Index row = 0; row < cells; ++row)
        for (Index column = 0; column < cells; ++column)
            for (Index j = 0; j < each; ++j) {
                double sum = 0;
                for (Index view = 0; view < views; ++view) {
                    Index y = row, x = column;
                    if (view & 2) y = cells - 1 - y;
                    if (view & 1) x = cells - 1 - x;
                    if (view & 4) std::swap(y, x);
                    sum += found[(y * cells + x) * each + j];
                }
                *out++ = static_cast<float>(sum / static_cast<double>(views)) * tones.scale;
            }
}

}  // namespace

void patch_features(const std::vector<Images>& images, const std::vector<PatchBank>& banks, const Tones& tones,
                    Index views, float* out, int threads) {
    std::vector<Ready> ready;
    std::vector<bool> seen(images.size());
    Index features = 0;
    for (const PatchBank& bank : banks) {
        ready.emplace_back(bank, images[bank.halved]);
        seen[bank.halved] = true;
        features += bank.features();
    }
    const Index count = images[0].count, width = features + tones.features(images[0].channels);
    const float share = 1.0f / static_cast<float>(views);
    parallel_for((count + IMAGES - 1) / IMAGES, threads, [&](Index block) {
        Scratch scratch;
        scratch.planes.resize(images.size());
        scratch.row.resize(views > 1 ? features : 0);
        for (Index i = block * IMAGES; i < std::min(count, (block + 1) * IMAGES); ++i) {
            float* row = out + i * width;
            for (Index view = 0; view < views; ++view) {
                for (std::size_t h = 0; h < images.size(); ++h)
                    if (seen[h]) load_planes(images[h], i, view, scratch.planes[h]);
                float* here = view ? scratch.row.data() : row;
                for (const Ready& bank : ready) {
                    run_bank(bank, scratch.planes[bank.bank.halved], scratch, here);
                    here += bank.bank.features();
                }
                if (view) patch_kernels().add_scaled(row, scratch.row.data(), 1.0f, features);
            }
            if (views > 1)
                for (Index j = 0; j < features; ++j) row[j] *= share;
            run_tones(images[0], i, tones, views, row + features);
        }
    });
}

void halve(const Images& images, std::uint8_t* out, int threads) {
    const Index height = images.height / 2, width = images.width / 2, channels = images.channels;
    const Index line = images.width * channels;
    parallel_for((images.count + IMAGES - 1) / IMAGES, threads, [&](Index block) {
        for (Index i = block * IMAGES; i < std::min(images.count, (block + 1) * IMAGES); ++i)
            for (Index y = 0; y < height; ++y) {
                const std::uint8_t* in = images.pixels + (i * images.height + 2 * y) * line;
                std::uint8_t* to = out + (i * height + y) * width * channels;
                for (Index x = 0; x < width; ++x)
                    for (Index c = 0; c < channels; ++c) {
                        const std::uint8_t* four = in + 2 * x * channels + c;
                        const int sum = four[0] + four[channels] + four[line] + four[line + channels];
                        to[x * channels + c] = static_cast<std::uint8_t>((sum + 2) / 4);
                    }
            }
    });
}

void take_patches(const Images& images, Index side, float noise, const Index* places, Index count, float* out,
                  int threads) {
    const Index taps = images.channels * side * side;
    parallel_for((count + PATCHES - 1) / PATCHES, threads, [&](Index block) {
        for (Index i = block * PATCHES; i < std::min(count, (block + 1) * PATCHES); ++i) {
            const Index image = places[3 * i], top = places[3 * i + 1], left = places[3 * i + 2];
            float* patch = out + i * taps;
            double sum = 0.0, squares = 0.0;
            for (Index c = 0, t = 0; c < images.channels; ++c)
                for (Index y = 0; y < side; ++y)
                    for (Index x = 0; x < side; ++x, ++t) {
                        const Index pixel = (image * images.height + top + y) * images.width + left + x;
                        patch[t] = static_cast<float>(images.pixels[pixel * images.channels + c]) - MIDDLE;
                        sum += patch[t];
                        squares += patch[t] * patch[t];
                    }
            const double mean = sum / static_cast<double>(taps);
            const double variance = std::max(squares / static_cast<double>(taps) - mean * mean, 0.0);
            const double inverse = 1.0 / std::sqrt(variance + noise);
            for (Index t = 0; t < taps; ++t) patch[t] = static_cast<float>((patch[t] - mean) * inverse);
        }
    });
}

void covariance(const float* x, Index rows, Index width, double* mean, double* out, int threads) {
    const Index blocks = std::min<Index>((rows + PATCHES - 1) / PATCHES, 64), size = width * (width + 1);
    std::vector<double> parts(blocks * size);
    parallel_for(blocks, threads, [&](Index block) {
        double *sums = &parts[block * size], *products = sums + width;
        constexpr Index FEW = 16;  // at a time, so that a line of the products stays in the nearest cache for them
        std::vector<double> few(FEW * width);
        const Index end = (block + 1) * rows / blocks;
        for (Index i = block * rows / blocks; i < end; i += FEW) {
            const Index here = std::min(FEW, end - i);
            std::copy_n(x + i * width, here * width, few.begin());
            for (Index a = 0; a < width; ++a)
                for (Index r = 0; r < here; ++r) {
                    const double one = few[r * width + a];
                    sums[a] += one;
                    for (Index b = 0; b <= a; ++b) products[a * width + b] += one * few[r * width + b];
                }
        }
    });
    for (Index block = 1; block < blocks; ++block)
        for (Index j = 0; j < size; ++j) parts[j] += parts[block * size + j];
    const double share = 1.0 / static_cast<double>(rows);
    for (Index a = 0; a < width; ++a) mean[a] = parts[a] * share;
    for (Index a = 0; a < width; ++a)
        for (Index b = 0; b <= a; ++b)
            out[a * width + b] = out[b * width + a] = parts[width + a * width + b] * share - mean[a] * mean[b];
}

void gather_by_filter(const float* x, Index rows, Index width, const float* filters, const float* offsets, Index count,
                      double* sums, double* weight, int threads) {
    const PatchKernels& k = patch_kernels();
    const Index panel = k.panel, blocks = std::min<Index>((rows + PATCHES - 1) / PATCHES, 32);
    const std::vector<float> panels = panels_of(filters, count, width), shifted = padded(offsets, count);
    std::vector<Index> taps(width);
    for (Index t = 0; t < width; ++t) taps[t] = t;
    struct Part {
        std::vector<double> sums, weight;
    };
    std::vector<Part> parts(blocks);
    parallel_for(blocks, threads, [&](Index block) {
        Part& part = parts[block];
        part = {std::vector<double>(count * width), std::vector<double>(count)};
        constexpr Index FEW = 48;
        std::vector<float> responses(FEW * panel), best(FEW);
        std::vector<Index> which(FEW);
        const Index end = (block + 1) * rows / blocks;
        for (Index i = block * rows / blocks; i < end; i += FEW) {
            const Index here = std::min(FEW, end - i);
            std::fill(best.begin(), best.end(), 0.0f);
            std::fill(which.begin(), which.end(), 0);
            for (Index begin = 0; begin < count; begin += panel) {
                k.respond(x + i * width, width, here, taps.data(), width, &panels[begin * width], responses.data());
                const Index filters_here = std::min(panel, count - begin);
                for (Index r = 0; r < here; ++r)
                    for (Index f = 0; f < filters_here; ++f) {
                        const float response = responses[r * panel + f] - shifted[begin + f];
                        if (std::abs(response) > std::abs(best[r])) {
                            best[r] = response;
                            which[r] = begin + f;
                        }
                    }
            }
            for (Index r = 0; r < here; ++r) {
                double* sum = &part.sums[which[r] * width];
                const double response = best[r];
                for (Index t = 0; t < width; ++t) sum[t] += response * x[(i + r) * width + t];
                part.weight[which[r]] += response;
            }
        }
    });
    std::fill(sums, sums + count * width, 0.0);
    std::fill(weight, weight + count, 0.0);
    for (const Part& part : parts) {
        for (Index j = 0; j < count * width; ++j) sums[j] += part.sums[j];
        for (Index j = 0; j < count; ++j) weight[j] += part.weight[j];
    }
}

}  // namespace luce
