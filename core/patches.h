// Images -> patch features: each square patch of an image is brought to mean 0 and contrast 1, compared with filters,
// and what lies beyond a threshold, of either sign, is averaged over the cells of a grid.
// (Coates, Ng and Lee, AISTATS 2011; Coates and Ng, ICML 2011, section 2.3: soft threshold.)
#pragma once
#include <vector>

#include "view.h"

namespace luce {

// n images of height x width pixels in `channels` colours, each pixel's colours side by side.
struct Images {
    const std::uint8_t* pixels = nullptr;
    Index count = 0, height = 0, width = 0, channels = 0;
};

// Filters of one size and the grid that their responses are pooled over.
//   r = w . (x - mean x) / sqrt(var x + noise) - offset
// for the patch x at each place, its numbers ordered by (channel, line, column); every w must sum to 0. A feature is
//   sqrt(sum_y sum_x rows[cell, y] columns[cell, x] max(+-r - threshold, 0)).
struct PatchBank {
    Index side = 0, filters = 0, halved = 0;  // halved: how often images are before it sees them
    const float* weights = nullptr;           // filters x (channels * side * side)
    const float* offsets = nullptr;           // filters
    float threshold = 0, noise = 0;
    Index row_cells = 0, column_cells = 0;
    const float* rows = nullptr;     // row_cells x (height - side + 1)
    const float* columns = nullptr;  // column_cells x (width - side + 1)
    Index features() const { return row_cells * column_cells * 2 * filters; }
};

// What contrast-normalised patches cannot tell: of each of cells x cells parts of an image (of an odd side both parts
// have the middle line) and each channel the mean of the pixels and the root of their variance, times scale.
struct Tones {
    Index cells = 0;
    float scale = 0;
    Index features(Index channels) const { return cells * cells * channels * 2; }
};

// out (count x width) gets a row an image: for each bank its cells line by line, for each cell the filters' positive
// sides, then their negative ones; then the tones, cells line by line, for each channel mean and root; the mean over
// the first so many views of an image: as it is, left and right exchanged, both of these with top and bottom exchanged,
// these four with lines and columns exchanged (1, 2, 4 or 8). images[h]: halved h times. A row depends on its image
// alone.
void patch_features(const std::vector<Images>& images, const std::vector<PatchBank>& banks, const Tones& tones,
                    Index views, float* out, int threads);

// out (count x height / 2 x width / 2 x channels): each pixel the mean of four, rounded; an odd last line is left out.
void halve(const Images& images, std::uint8_t* out, int threads);

// out (count x channels * side * side): the patch whose corner is at (top, left) of an image, less its mean, divided by
// sqrt(variance + noise); places holds (image, top, left) for each.
void take_patches(const Images& images, Index side, float noise, const Index* places, Index count, float* out,
                  int threads);

// mean (width) and covariance (width x width) of the rows of x
void covariance(const float* x, Index rows, Index width, double* mean, double* out, int threads);

// Each row of x goes to the filter whose response r = w . x - offset is largest in size: sums[k] += r x, weight[k] +=
// r, in blocks of rows that are added up in order.
void gather_by_filter(const float* x, Index rows, Index width, const float* filters, const float* offsets, Index count,
                      double* sums, double* weight, int threads);

}  // namespace luce
