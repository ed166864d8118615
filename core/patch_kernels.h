// The innermost loops of patch features, compiled once per instruction set (patch_kernels.cpp) and chosen at import
// (dispatch.cpp).
#pragma once
#include "view.h"

namespace luce {

// Places along one line of an image, all with the same filters.
struct PatchLine {
    Index count;           // places
    const float* inverse;  // count numbers: 1 / contrast
    const float* offsets;  // panel numbers
    float threshold;
    Index cells;                // that the line is divided into
    const float* shares;        // cells x count: how much of a place belongs to a cell
    const Index *first, *last;  // the places of a cell whose shares are not 0
};

struct PatchKernels {
    int panel;  // how many filters go side by side
    // out[i * panel + f] = sum_t x[i * step + taps[t]] * filters[t * panel + f], i < count, summed in the order of taps
    void (*respond)(const float* x, Index step, Index count, const Index* taps, Index tap_count, const float* filters,
                    float* out);
    // inverse[i] = 1 / sqrt(variance of the numbers x[i + taps[t]] + noise), i < count
    void (*contrast)(const float* x, Index count, const Index* taps, Index tap_count, float noise, float* inverse);
    // With r = response * inverse - offset: sums[cell][0][f] = sum_i share_i max(r_i - threshold, 0), and [1] the same
    // of -r. both: scratch for 2 * count * panel numbers
    void (*pool)(const PatchLine& line, const float* responses, float* both, float* sums);
    void (*add_scaled)(float* a, const float* b, float factor, Index n);  // a += factor * b
};

const PatchKernels& patch_kernels();  // the best ones that this processor runs

}  // namespace luce
