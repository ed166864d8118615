// Texts -> hashed n-grams of words, characters and Hangul letters. An n-gram is a number below BUCKETS, the same for
// the same text always; no seed, no table of words.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "room.h"
#include "view.h"

namespace luce {

inline constexpr std::uint32_t BUCKET_BITS = 24, BUCKETS = 1u << BUCKET_BITS, MOST_COUNT = 255;

// Which n-grams are made. words: of 1 to so many tokens, with the beginning of the text as a token. characters: of so
// many code points, within a token with a blank on both sides, or across the text. jamo: the letters of Hangul
// syllables, within a word. A `most` of 0: none of the kind.
struct Recipe {
    int words = 0;
    int characters_least = 1, characters_most = 0;
    bool across = false;
    int jamo_least = 1, jamo_most = 0;
};

using Texts = std::vector<std::string_view>;

// The n-grams of texts, each once a text: starts (texts + 1), and for each its bucket and how often it is there (up to
// 255) as bucket | count << 24.
struct Grams {
    std::vector<std::int64_t> starts;
    Room<std::uint32_t> packed;
};

Grams count_grams(const Texts& texts, const Recipe& recipe, int threads);

// A number for each text that is the same for texts that are alike once normalised.
std::vector<std::uint64_t> text_keys(const Texts& texts, int threads);

// One occurrence of an n-gram in a text: its bucket and the bytes [begin, end) that it was made from.
struct Occurrence {
    std::uint32_t bucket, begin, end;
};

std::vector<Occurrence> occurrences(std::string_view text, const Recipe& recipe);

// The buckets that at least `least` texts have, the most frequent first (ties by bucket), at most `most` of them.
std::vector<std::uint32_t> frequent_buckets(const std::uint32_t* packed, Index stored, int least, Index most,
                                            int threads);

// From buckets to their places in a list.
class Vocabulary {
public:
    Vocabulary(const std::uint32_t* buckets, Index count);

    // The place of a bucket, -1 if it is not in the list.
    std::int32_t find(std::uint32_t bucket) const {
        for (std::uint32_t at = home(bucket);; at = (at + 1) & mask_) {
            const Slot slot = slots_[at];
            if (slot.place < 0 || slot.bucket == bucket) return slot.place;
        }
    }
    // That a bucket will be looked for soon.
    void expect(std::uint32_t bucket) const { __builtin_prefetch(&slots_[home(bucket)]); }
    Index size() const { return size_; }

private:
    struct Slot {
        std::uint32_t bucket = 0;
        std::int32_t place = -1;
    };
    std::uint32_t home(std::uint32_t bucket) const { return (bucket * 0x9e3779b1u) >> shift_; }

    Index size_;
    std::uint32_t mask_ = 0;
    int shift_ = 0;
    std::vector<Slot> slots_;
};

// The n-grams that are in the vocabulary: starts (texts + 1), places in it, and how often each is there.
struct Known {
    std::vector<std::int64_t> starts;
    Room<std::int32_t> places;
    Room<std::uint8_t> counts;
};

Known known_grams(const std::int64_t* starts, const std::uint32_t* packed, Index texts, const Vocabulary& vocabulary,
                  int threads);

// What each n-gram tells of the class of a text, as the square root of the information that one more text would be
// given on top of the shares q of the classes: of c texts with it, c_k of class k,
//
//   sqrt(sum_k p_k ln(p_k / q_k)),   p_k = (c_k + q_k) / (c + 1)
//
// out (folds + 1) x columns: without the texts of each fold, and last of all texts. fold: of each text, from 0 on.
// often: how many texts have each, all 0 before.
void information(const std::int64_t* starts, const std::int32_t* places, Index texts, const std::int32_t* codes,
                 int classes, const std::int32_t* fold, int folds, Index columns, float* out, std::int64_t* often,
                 int threads);

// Sparse rows of (1 + ln count) * scale[place], each divided by its Euclidean length; n-grams of scale 0 are left out.
struct Weighed {
    std::vector<std::int64_t> starts;
    Room<std::int32_t> places;
    Room<float> values;
};

// The same in one run over new texts, with the n-grams of a vocabulary alone.
Weighed text_rows(const Texts& texts, const Recipe& recipe, const Vocabulary& vocabulary, const float* scale,
                  int threads);

Weighed weigh(const std::int64_t* starts, const std::int32_t* places, const std::uint8_t* counts, Index texts,
              const float* scale, int threads);

}  // namespace luce
