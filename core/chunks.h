// Rows in chunks, each summed in order by one thread and added in order: then the bits of a sum depend neither on the
// number of threads nor on who sums which chunks.
#pragma once
#include <algorithm>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "view.h"

namespace luce {

// Chunks of whole tiles. Their size depends on the shape alone: enough of them for many threads, few enough that one
// partial sum of `width` numbers a chunk stays within 16 MiB, as long as there are eight. Where two widths give other
// sizes, the larger one is the smaller one doubled some times, so that chunks lie in chunks.
// Some rows of `all`, which begin where a chunk of all begins, are cut as all are.
struct Chunks {
    Index rows, tiles_each, count;

    Chunks(Index n, Index width, Index all) : rows(n) {
        const Index tiles = (all + TILE - 1) / TILE;
        const Index most = std::clamp<Index>((Index{1} << 21) / std::max<Index>(width, 1), 8, 64);
        tiles_each = std::max<Index>((tiles + 63) / 64, 4);
        while ((tiles + tiles_each - 1) / tiles_each > most) tiles_each *= 2;
        count = ((n + TILE - 1) / TILE + tiles_each - 1) / tiles_each;
    }
    Chunks(Index n, Index width) : Chunks(n, width, n) {}

    Index first_tile(Index chunk) const { return chunk * tiles_each; }
    Index end_tile(Index chunk) const { return std::min((rows + TILE - 1) / TILE, (chunk + 1) * tiles_each); }
    int rows_in(Index tile) const { return static_cast<int>(std::min<Index>(TILE, rows - tile * TILE)); }
    Index first_row(Index chunk) const { return first_tile(chunk) * TILE; }
    Index end_row(Index chunk) const { return std::min(rows, first_row(chunk + 1)); }
};

// Runs body(chunk, partial sums of `width` numbers, 0 at first) for all chunks.
template <class Body>
void each_chunk(const Chunks& chunks, Index width, int threads, double* parts, const Body& body) {
    parallel_for(chunks.count, threads, [&](Index c) {
        double* part = parts + c * width;
        std::fill(part, part + width, 0.0);
        body(c, part);
    });
}

// out = the parts (count x width) added in order
inline void add_chunks(const double* parts, Index count, Index width, double* out, int threads) {
    const Index each = 1 << 12, ranges = (width + each - 1) / each;
    parallel_for(ranges, ranges < 16 ? 1 : threads, [&](Index g) {
        const Index first = g * each, end = std::min(width, first + each);
        std::fill(out + first, out + end, 0.0);
        if (count > 0) std::copy(parts + first, parts + end, out + first);
        for (Index c = 1; c < count; ++c)
            for (Index i = first; i < end; ++i) out[i] += parts[c * width + i];
    });
}

// Runs body as each_chunk does and adds the partial sums in order into out.
template <class Body>
void sum_over_chunks(const Chunks& chunks, Index width, int threads, double* out, const Body& body) {
    const std::unique_ptr<double[]> parts(new double[chunks.count * width]);
    each_chunk(chunks, width, threads, parts.get(), body);
    add_chunks(parts.get(), chunks.count, width, out, threads);
}

}  // namespace luce
