#include "ngram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "parallel.h"
#include "unicode.h"

namespace luce {

namespace {

using unicode::Kind;
using unicode::Text;

constexpr Index BLOCK = 256;        // texts
constexpr std::int64_t AHEAD = 16;  // n-grams that are looked up later are fetched already
constexpr std::uint64_t STEP = 0x9e3779b97f4a7c15u, LAST = 0xd6e8feb86659fd93u;
constexpr std::uint64_t WORDS = 0x51a7c0de11f3a94bu, CHARACTERS = 0xc3a5c85c97cb3127u, JAMO = 0xb492b66fbe98f273u;
constexpr std::uint64_t BEGIN = 0x8ebc6af09c88c6e3u;  // the token before the first
constexpr int LONG_NUMBER = 5, LONGEST_NUMBER = 12;   // digits: of a number of so many or more only their count is told
constexpr std::uint32_t SYLLABLE = 0xac00, SYLLABLES = 11172, VOWEL = 0x1161, TAIL = 0x11a7, LEAD = 0x1100;

std::uint64_t fed(std::uint64_t hash, std::uint64_t next) { return (hash ^ next) * STEP; }

std::uint32_t bucket_of(std::uint64_t hash) {
    hash ^= hash >> 32;
    return static_cast<std::uint32_t>((hash * LAST) >> (64 - BUCKET_BITS));
}

// Code points [begin, end) of a text that are one token.
struct Token {
    std::size_t begin, end;
    std::uint64_t hash;
};

bool in_word(Kind kind) {
    return kind == Kind::letter || kind == Kind::mark || kind == Kind::digit || kind == Kind::hangul;
}

bool joins(const Text& text, std::size_t i) {  // an apostrophe between letters, a point or comma between digits
    if (i == 0 || i + 1 >= text.codes.size()) return false;
    const std::uint32_t code = text.codes[i];
    const Kind before = text.kinds[i - 1], after = text.kinds[i + 1];
    if (code == '\'' || code == 0x2019) return before == Kind::letter && after == Kind::letter;
    return (code == '.' || code == ',') && before == Kind::digit && after == Kind::digit;
}

std::uint64_t hash_of(const Text& text, std::size_t begin, std::size_t end) {
    bool number = end - begin >= LONG_NUMBER;
    for (std::size_t i = begin; i < end && number; ++i) number = text.kinds[i] == Kind::digit;
    std::uint64_t hash = WORDS;
    if (number) {
        const std::size_t length = std::min<std::size_t>(end - begin, LONGEST_NUMBER);
        for (std::size_t i = 0; i < length; ++i) hash = fed(hash, '0');
        return hash;
    }
    for (std::size_t i = begin; i < end; ++i) hash = fed(hash, text.codes[i] == 0x2019 ? '\'' : text.codes[i]);
    return hash;
}

// Words, numbers, single characters of scripts without spaces, runs of one sign.
void tokenise(const Text& text, std::vector<Token>& out) {
    out.clear();
    const std::size_t n = text.codes.size();
    for (std::size_t i = 0; i < n;) {
        const Kind kind = text.kinds[i];
        if (kind == Kind::space) {
            ++i;
            continue;
        }
        std::size_t end = i + 1;
        if (in_word(kind)) {
            while (end < n && (in_word(text.kinds[end]) || joins(text, end))) ++end;
        } else if (kind == Kind::unspaced) {
            while (end < n && text.kinds[end] == Kind::mark) ++end;
        } else {
            while (end < n && text.codes[end] == text.codes[i]) ++end;
        }
        out.push_back({i, end, hash_of(text, i, end)});
        i = end;
    }
}

// Memory that a thread works in.
struct Desk {
    Text scratch, text;
    std::vector<Token> tokens;
    std::vector<std::uint32_t> letters, places;
};

// Calls emit(hash, first code point, one past the last) for every n-gram of the text on the desk.
template <class Emit>
void each_gram(Desk& desk, const Recipe& recipe, const Emit& emit) {
    const Text& text = desk.text;
    const std::vector<Token>& tokens = desk.tokens;
    if (recipe.words > 0) {
        const std::size_t most = static_cast<std::size_t>(recipe.words);
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            std::uint64_t hash = WORDS;
            for (std::size_t k = 0; k < most && i + k < tokens.size(); ++k) {
                hash = fed(hash, tokens[i + k].hash);
                emit(hash, tokens[i].begin, tokens[i + k].end);
            }
        }
        std::uint64_t hash = fed(WORDS, BEGIN);
        for (std::size_t k = 0; k + 1 < most && k < tokens.size(); ++k) {
            hash = fed(hash, tokens[k].hash);
            emit(hash, tokens[0].begin, tokens[k].end);
        }
    }
    // n-grams of letters[begin, end), whose code points are `places`
    const auto slide = [&](std::uint64_t seed, std::size_t count, int least, int most) {
        for (std::size_t i = 0; i < count; ++i) {
            std::uint64_t hash = seed;
            const std::size_t end = std::min(count, i + static_cast<std::size_t>(most));
            for (std::size_t k = i; k < end; ++k) {
                hash = fed(hash, desk.letters[k]);
                if (static_cast<int>(k - i) + 1 >= least && !(k == i && desk.letters[k] == ' '))
                    emit(hash, desk.places[i], desk.places[k] + 1);
            }
        }
        desk.letters.clear();
        desk.places.clear();
    };
    const auto lay = [&](std::uint32_t letter, std::size_t place) {
        desk.letters.push_back(letter);
        desk.places.push_back(static_cast<std::uint32_t>(place));
    };
    desk.letters.clear();
    desk.places.clear();
    if (recipe.characters_most > 0 && recipe.across && !text.codes.empty()) {
        lay(' ', 0);
        for (std::size_t i = 0; i < text.codes.size(); ++i) lay(text.codes[i], i);
        lay(' ', text.codes.size() - 1);
        slide(CHARACTERS, desk.letters.size(), recipe.characters_least, recipe.characters_most);
    } else if (recipe.characters_most > 0) {
        for (const Token& token : tokens) {
            lay(' ', token.begin);
            for (std::size_t i = token.begin; i < token.end; ++i) lay(text.codes[i], i);
            lay(' ', token.end - 1);
            slide(CHARACTERS, desk.letters.size(), recipe.characters_least, recipe.characters_most);
        }
    }
    if (recipe.jamo_most == 0) return;
    for (const Token& token : tokens) {
        if (text.kinds[token.begin] != Kind::hangul) continue;
        lay(' ', token.begin);
        for (std::size_t i = token.begin; i < token.end; ++i) {
            const std::uint32_t place = text.codes[i] - SYLLABLE;
            if (place >= SYLLABLES) {
                lay(text.codes[i], i);
                continue;
            }
            lay(LEAD + place / 588, i);
            lay(VOWEL + place / 28 % 21, i);
            lay(TAIL + place % 28, i);  // one without a tail has TAIL itself, so that syllables stay apart
        }
        lay(' ', token.end - 1);
        slide(JAMO, desk.letters.size(), recipe.jamo_least, recipe.jamo_most);
    }
}

void lay_out(std::string_view bytes, bool spans, Desk& desk) {
    unicode::normalise(bytes, spans, desk.scratch, desk.text);
    tokenise(desk.text, desk.tokens);
}

// Counts the buckets of one text after another: a table whose slots are those of the last text only if their mark says
// so, and of which a short text uses the beginning alone.
class Tally {
public:
    // The next text, of at most `most` n-grams.
    void begin(std::size_t most) {
        int bits = 6;
        while ((std::size_t{1} << bits) < 2 * most) ++bits;
        if (slots_.size() < std::size_t{1} << bits) slots_.resize(std::size_t{1} << bits);
        mask_ = (std::uint32_t{1} << bits) - 1;
        shift_ = 32 - bits;
        if (++mark_ == 0) std::fill(slots_.begin(), slots_.end(), Slot{}), mark_ = 1;
        if (own_.size() < most) own_.resize(most);
        size_ = 0;
    }

    void add(std::uint32_t bucket) {
        for (std::uint32_t at = (bucket * 0x9e3779b1u) >> shift_;; at = (at + 1) & mask_) {
            Slot& slot = slots_[at];
            if (slot.mark != mark_) {
                slot = {mark_, size_};
                own_[size_++] = bucket | 1u << BUCKET_BITS;
                return;
            }
            std::uint32_t& held = own_[slot.place];
            if ((held & (BUCKETS - 1)) == bucket) {
                if (held >> BUCKET_BITS < MOST_COUNT) held += 1u << BUCKET_BITS;
                return;
            }
        }
    }

    // The n-grams of the text, each with its count.
    std::span<const std::uint32_t> grams() const { return {own_.data(), size_}; }

private:
    struct Slot {
        std::uint32_t mark = 0, place = 0;
    };
    std::vector<Slot> slots_;
    std::uint32_t mark_ = 0, mask_ = 0, size_ = 0;
    int shift_ = 0;
    std::vector<std::uint32_t> own_;
};

// No fewer than each_gram will emit.
std::size_t most_grams(const Desk& desk, const Recipe& recipe) {
    const std::size_t tokens = desk.tokens.size(), codes = desk.text.codes.size() + 2 * tokens + 2;
    const auto sizes = [](int least, int most) { return static_cast<std::size_t>(std::max(most - least + 1, 0)); };
    return (tokens + 1) * static_cast<std::size_t>(recipe.words) +
           codes * sizes(recipe.characters_least, recipe.characters_most) +
           3 * codes * sizes(recipe.jamo_least, recipe.jamo_most);
}

}  // namespace

namespace {

// Ends of the rows of each block, counted from the block's beginning, become ends counted from the first row's; returns
// the last one.
std::int64_t run_on(std::vector<std::int64_t>& starts) {
    const Index n = static_cast<Index>(starts.size()) - 1;
    for (Index first = BLOCK; first < n; first += BLOCK) {
        const std::int64_t before = starts[static_cast<std::size_t>(first)];
        for (Index i = first; i < std::min(n, first + BLOCK); ++i) starts[static_cast<std::size_t>(i) + 1] += before;
    }
    return starts.back();
}

}  // namespace

Grams count_grams(const Texts& texts, const Recipe& recipe, int threads) {
    const Index n = static_cast<Index>(texts.size()), blocks = (n + BLOCK - 1) / BLOCK;
    Grams out;
    out.starts.assign(static_cast<std::size_t>(n) + 1, 0);
    std::vector<std::vector<std::uint32_t>> found(static_cast<std::size_t>(blocks));
    parallel_for(blocks, threads, [&](Index block) {
        Desk desk;
        Tally tally;
        std::vector<std::uint32_t> packed;
        for (Index i = block * BLOCK; i < std::min(n, (block + 1) * BLOCK); ++i) {
            lay_out(texts[static_cast<std::size_t>(i)], false, desk);
            tally.begin(most_grams(desk, recipe));
            each_gram(desk, recipe, [&](std::uint64_t hash, std::size_t, std::size_t) { tally.add(bucket_of(hash)); });
            packed.insert(packed.end(), tally.grams().begin(), tally.grams().end());
            out.starts[static_cast<std::size_t>(i) + 1] = static_cast<std::int64_t>(packed.size());
        }
        found[static_cast<std::size_t>(block)].assign(packed.begin(), packed.end());  // no more memory than they need
    });
    out.packed.resize(static_cast<std::size_t>(run_on(out.starts)));
    parallel_for(blocks, threads, [&](Index block) {
        auto& part = found[static_cast<std::size_t>(block)];
        const std::int64_t at = out.starts[static_cast<std::size_t>(block * BLOCK)];
        std::copy(part.begin(), part.end(), out.packed.begin() + at);
        std::vector<std::uint32_t>().swap(part);
    });
    return out;
}

std::vector<std::uint64_t> text_keys(const Texts& texts, int threads) {
    const Index n = static_cast<Index>(texts.size());
    std::vector<std::uint64_t> out(texts.size());
    parallel_for((n + BLOCK - 1) / BLOCK, threads, [&](Index block) {
        Desk desk;
        for (Index i = block * BLOCK; i < std::min(n, (block + 1) * BLOCK); ++i) {
            unicode::normalise(texts[static_cast<std::size_t>(i)], false, desk.scratch, desk.text);
            std::uint64_t hash = CHARACTERS;
            for (const std::uint32_t code : desk.text.codes) {
                hash = fed(hash, code);
                hash ^= hash >> 32;
            }
            out[static_cast<std::size_t>(i)] = hash * LAST;
        }
    });
    return out;
}

std::vector<Occurrence> occurrences(std::string_view text, const Recipe& recipe) {
    Desk desk;
    lay_out(text, true, desk);
    std::vector<Occurrence> out;
    each_gram(desk, recipe, [&](std::uint64_t hash, std::size_t begin, std::size_t end) {
        Occurrence o{bucket_of(hash), desk.text.begin[begin], desk.text.end[begin]};
        for (std::size_t i = begin; i < end; ++i) {  // marks may have changed places
            o.begin = std::min(o.begin, desk.text.begin[i]);
            o.end = std::max(o.end, desk.text.end[i]);
        }
        out.push_back(o);
    });
    return out;
}

std::vector<std::uint32_t> frequent_buckets(const std::uint32_t* packed, Index stored, int least, Index most,
                                            int threads) {
    constexpr std::uint32_t FEW = 4096;  // buckets in fewer texts are sorted by counting
    struct Part {
        std::vector<std::uint8_t> low;                              // the last byte of the count of each bucket
        std::vector<std::uint32_t> wrapped;                         // the bucket each time that its byte is 0 again
        std::vector<std::pair<std::uint32_t, std::uint32_t>> many;  // the count and the bucket
        std::vector<std::int64_t> places;  // by count: how many buckets have it, then where the next one goes
    };
    const auto number = std::bit_ceil(static_cast<std::uint32_t>(std::clamp(threads, 1, 8)));
    const std::uint32_t width = BUCKETS / number, asked = static_cast<std::uint32_t>(std::max(least, 1));
    std::vector<Part> parts(number);
    parallel_for(number, threads, [&](Index p) {  // each counts some
        Part& part = parts[static_cast<std::size_t>(p)];
        part.low.resize(BUCKETS);
        const Index end = stored * (p + 1) / number;
        for (Index e = stored * p / number; e < end; ++e) {
            if (e + AHEAD < end) __builtin_prefetch(&part.low[packed[e + AHEAD] & (BUCKETS - 1)], 1);
            const std::uint32_t bucket = packed[e] & (BUCKETS - 1);
            if (++part.low[bucket] == 0) part.wrapped.push_back(bucket);
        }
    });
    std::vector<std::uint32_t> wrapped;
    for (const Part& part : parts) wrapped.insert(wrapped.end(), part.wrapped.begin(), part.wrapped.end());
    std::sort(wrapped.begin(), wrapped.end());
    const auto each = [&](Index p, const auto& body) {  // of a share of the buckets those that are asked for
        const std::uint32_t from = static_cast<std::uint32_t>(p) * width;
        auto wrap = std::lower_bound(wrapped.begin(), wrapped.end(), from);
        for (std::uint32_t b = from; b < from + width; b += 8) {
            std::uint64_t any = 0, eight;
            for (const Part& part : parts) {
                std::memcpy(&eight, &part.low[b], sizeof eight);
                any |= eight;
            }
            if (any == 0 && (wrap == wrapped.end() || *wrap >= b + 8)) continue;
            for (std::uint32_t bucket = b; bucket < b + 8; ++bucket) {
                std::uint32_t count = 0;
                for (const Part& part : parts) count += part.low[bucket];
                for (; wrap != wrapped.end() && *wrap == bucket; ++wrap) count += 256;
                if (count >= asked) body(bucket, count);
            }
        }
    };
    parallel_for(number, threads, [&](Index p) {
        Part& part = parts[static_cast<std::size_t>(p)];
        part.places.resize(FEW);
        each(p, [&](std::uint32_t bucket, std::uint32_t count) {
            count < FEW ? void(++part.places[count]) : void(part.many.emplace_back(count, bucket));
        });
    });
    std::vector<std::pair<std::uint32_t, std::uint32_t>> many;
    for (const Part& part : parts) many.insert(many.end(), part.many.begin(), part.many.end());
    std::stable_sort(many.begin(), many.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    std::int64_t at = static_cast<std::int64_t>(many.size());
    for (std::uint32_t count = FEW - 1; count > 0; --count) {
        for (Part& part : parts) {
            const std::int64_t own = part.places[count];
            part.places[count] = at;
            at += own;
        }
    }
    std::vector<std::uint32_t> out(static_cast<std::size_t>(at));
    for (std::size_t i = 0; i < many.size(); ++i) out[i] = many[i].second;
    parallel_for(number, threads, [&](Index p) {
        Part& part = parts[static_cast<std::size_t>(p)];
        each(p, [&](std::uint32_t bucket, std::uint32_t count) {
            if (count < FEW) out[static_cast<std::size_t>(part.places[count]++)] = bucket;
        });
    });
    if (static_cast<Index>(out.size()) > most) out.resize(static_cast<std::size_t>(most));
    return out;
}

Vocabulary::Vocabulary(const std::uint32_t* buckets, Index count) : size_(count) {
    int bits = 4;
    while ((Index{1} << bits) < 2 * count) ++bits;
    slots_.resize(std::size_t{1} << bits);
    mask_ = static_cast<std::uint32_t>(slots_.size()) - 1;
    shift_ = 32 - bits;
    for (Index i = 0; i < count; ++i) {
        std::uint32_t at = home(buckets[i]);
        while (slots_[at].place >= 0) at = (at + 1) & mask_;
        slots_[at] = {buckets[i], static_cast<std::int32_t>(i)};
    }
}

Known known_grams(const std::int64_t* starts, const std::uint32_t* packed, Index texts, const Vocabulary& vocabulary,
                  int threads) {
    const Index blocks = (texts + BLOCK - 1) / BLOCK;
    Known out;
    out.starts.assign(static_cast<std::size_t>(texts) + 1, 0);
    Room<std::int32_t> found(static_cast<std::size_t>(starts[texts]));
    parallel_for(blocks, threads, [&](Index block) {
        for (Index i = block * BLOCK; i < std::min(texts, (block + 1) * BLOCK); ++i) {
            std::int64_t known = 0;
            for (std::int64_t e = starts[i]; e < starts[i + 1]; ++e) {
                if (e + AHEAD < starts[texts]) vocabulary.expect(packed[e + AHEAD] & (BUCKETS - 1));
                const std::int32_t place = vocabulary.find(packed[e] & (BUCKETS - 1));
                found[static_cast<std::size_t>(e)] = place;
                known += place >= 0;
            }
            out.starts[static_cast<std::size_t>(i) + 1] = known;
        }
    });
    for (Index i = 0; i < texts; ++i)
        out.starts[static_cast<std::size_t>(i) + 1] += out.starts[static_cast<std::size_t>(i)];
    out.places.resize(static_cast<std::size_t>(out.starts[static_cast<std::size_t>(texts)]));
    out.counts.resize(out.places.size());
    parallel_for(blocks, threads, [&](Index block) {
        for (Index i = block * BLOCK; i < std::min(texts, (block + 1) * BLOCK); ++i) {
            std::size_t at = static_cast<std::size_t>(out.starts[static_cast<std::size_t>(i)]);
            for (std::int64_t e = starts[i]; e < starts[i + 1]; ++e) {
                const std::int32_t place = found[static_cast<std::size_t>(e)];
                if (place < 0) continue;
                out.places[at] = place;
                out.counts[at++] = static_cast<std::uint8_t>(packed[e] >> BUCKET_BITS);
            }
        }
    });
    return out;
}

namespace {

// The shares of the classes among the texts without those of each fold, and last among all: (folds + 1) x classes.
std::vector<double> shares_of(Index texts, const std::int32_t* codes, int classes, const std::int32_t* fold,
                              int folds) {
    std::vector<double> rows(static_cast<std::size_t>(folds) * static_cast<std::size_t>(classes));
    std::vector<double> shares(static_cast<std::size_t>(folds + 1) * static_cast<std::size_t>(classes));
    for (Index i = 0; i < texts; ++i) rows[static_cast<std::size_t>(fold[i] * classes + codes[i])] += 1.0;
    for (int f = 0; f <= folds; ++f) {
        double all = 0.0;
        double* own = &shares[static_cast<std::size_t>(f * classes)];
        for (int g = 0; g < folds; ++g)
            for (int k = 0; k < classes && g != f; ++k) own[k] += rows[static_cast<std::size_t>(g * classes + k)];
        for (int k = 0; k < classes; ++k) all += own[k];
        for (int k = 0; k < classes; ++k) own[k] /= std::max(all, 1.0);
    }
    return shares;
}

// The information of an n-gram that count[fold * classes + class] texts have, of classes that it was met in, without
// each fold and last of all; out: folds + 1 of them, `apart` from each other.
void tell(const std::int32_t* count, const std::vector<std::int32_t>& met, const std::vector<double>& shares,
          int classes, int folds, float* out, Index apart) {
    for (int f = 0; f <= folds; ++f) {
        const double* share = &shares[static_cast<std::size_t>(f * classes)];
        double total = 0.0, sum = 0.0, rest = 1.0;
        const auto of_class = [&](std::int32_t k) {
            std::int32_t c = 0;
            for (int g = 0; g < folds; ++g)
                if (g != f) c += count[static_cast<std::size_t>(g * classes + k)];
            return static_cast<double>(c);
        };
        for (const std::int32_t k : met) total += of_class(k);
        for (const std::int32_t k : met) {
            const double q = share[k], c = of_class(k);
            if (c == 0.0 || q == 0.0) continue;
            const double p = (c + q) / (total + 1.0);
            sum += p * std::log(p / q);
            rest -= q;
        }
        sum -= std::max(rest, 0.0) / (total + 1.0) * std::log1p(total);
        out[f * apart] = static_cast<float>(std::sqrt(std::max(sum, 0.0)));
    }
}

constexpr Index COLUMNS = 4096;  // n-grams of a block

// Where there are few classes: all counts at once, those of some parts of the texts apart.
void count_at_once(const std::int64_t* starts, const std::int32_t* places, Index texts, const std::int32_t* codes,
                   int classes, const std::int32_t* fold, int folds, Index columns, const std::vector<double>& shares,
                   float* out, std::int64_t* often, int parts, int threads) {
    const Index width = static_cast<Index>(folds) * classes;
    std::vector<std::vector<std::int32_t>> counts(static_cast<std::size_t>(parts));
    parallel_for(parts, threads, [&](Index part) {
        auto& own = counts[static_cast<std::size_t>(part)];
        own.resize(static_cast<std::size_t>(columns * width));
        const Index last = texts * (part + 1) / parts;
        for (Index i = texts * part / parts; i < last; ++i)
            for (Index e = starts[i]; e < starts[i + 1]; ++e) {
                if (e + AHEAD < starts[last])
                    __builtin_prefetch(&own[static_cast<std::size_t>(places[e + AHEAD] * width)], 1);
                ++own[static_cast<std::size_t>(places[e] * width + fold[i] * classes + codes[i])];
            }
    });
    parallel_for((columns + COLUMNS - 1) / COLUMNS, threads, [&](Index block) {
        std::vector<std::int32_t> met;
        for (Index j = block * COLUMNS; j < std::min(columns, (block + 1) * COLUMNS); ++j) {
            std::int32_t* count = &counts[0][static_cast<std::size_t>(j * width)];
            for (std::size_t part = 1; part < counts.size(); ++part)
                for (Index c = 0; c < width; ++c) count[c] += counts[part][static_cast<std::size_t>(j * width + c)];
            met.clear();
            for (int k = 0; k < classes; ++k) {
                std::int32_t own = 0;
                for (int g = 0; g < folds; ++g) own += count[g * classes + k];
                if (own > 0) met.push_back(k);
                often[j] += own;
            }
            tell(count, met, shares, classes, folds, out + j, columns);
        }
    });
}

// Where there are many: n-gram by n-gram, each with the list of the texts that have it.
void count_one_by_one(const std::int64_t* starts, const std::int32_t* places, Index texts, const std::int32_t* codes,
                      int classes, const std::int32_t* fold, int folds, Index columns,
                      const std::vector<double>& shares, float* out, std::int64_t* often, int threads) {
    const Index parts = std::clamp(threads, 1, 8);
    const auto first = [&](Index part) { return texts * part / parts; };    // text of a part
    std::vector<std::vector<Index>> next(static_cast<std::size_t>(parts));  // member of each column that a part writes
    parallel_for(parts, threads, [&](Index part) {
        auto& own = next[static_cast<std::size_t>(part)];
        own.resize(static_cast<std::size_t>(columns));
        for (Index e = starts[first(part)]; e < starts[first(part + 1)]; ++e)
            ++own[static_cast<std::size_t>(places[e])];
    });
    std::vector<Index> begin(static_cast<std::size_t>(columns) + 1);
    for (Index j = 0, at = 0; j < columns; ++j) {
        for (auto& own : next) at += std::exchange(own[static_cast<std::size_t>(j)], at);
        often[j] = at - begin[static_cast<std::size_t>(j)];
        begin[static_cast<std::size_t>(j) + 1] = at;
    }
    Room<std::int32_t> members(static_cast<std::size_t>(starts[texts]));  // fold * classes + class, column by column
    parallel_for(parts, threads, [&](Index part) {
        Index* own = next[static_cast<std::size_t>(part)].data();
        const Index end = starts[first(part + 1)];
        for (Index i = first(part); i < first(part + 1); ++i) {
            const std::int32_t member = fold[i] * classes + codes[i];
            for (Index e = starts[i]; e < starts[i + 1]; ++e) {
                if (e + 2 * AHEAD < end) __builtin_prefetch(&own[places[e + 2 * AHEAD]], 1);
                if (e + AHEAD < end) __builtin_prefetch(members.data() + own[places[e + AHEAD]], 1);
                members[static_cast<std::size_t>(own[places[e]]++)] = member;
            }
        }
    });
    parallel_for((columns + COLUMNS - 1) / COLUMNS, threads, [&](Index block) {
        std::vector<std::int32_t> count(static_cast<std::size_t>(folds) * static_cast<std::size_t>(classes));
        std::vector<std::int32_t> met;
        std::vector<Index> last(static_cast<std::size_t>(classes), -1);  // column in which a class was met
        for (Index j = block * COLUMNS; j < std::min(columns, (block + 1) * COLUMNS); ++j) {
            const Index first = begin[static_cast<std::size_t>(j)], end = begin[static_cast<std::size_t>(j) + 1];
            for (Index e = first; e < end; ++e) ++count[static_cast<std::size_t>(members[static_cast<std::size_t>(e)])];
            met.clear();
            for (Index e = first; e < end; ++e) {
                const std::int32_t k = members[static_cast<std::size_t>(e)] % classes;
                if (last[static_cast<std::size_t>(k)] == j) continue;
                last[static_cast<std::size_t>(k)] = j;
                met.push_back(k);
            }
            std::sort(met.begin(), met.end());  // so that sums do not hang on the order of the texts
            tell(count.data(), met, shares, classes, folds, out + j, columns);
            for (Index e = first; e < end; ++e)
                count[static_cast<std::size_t>(members[static_cast<std::size_t>(e)])] = 0;
        }
    });
}

}  // namespace

void information(const std::int64_t* starts, const std::int32_t* places, Index texts, const std::int32_t* codes,
                 int classes, const std::int32_t* fold, int folds, Index columns, float* out, std::int64_t* often,
                 int threads) {
    const std::vector<double> shares = shares_of(texts, codes, classes, fold, folds);
    const Index parts = starts[texts] / std::max(columns * folds * classes, Index{1});  // counts take no more room
    if (parts > 0)
        count_at_once(starts, places, texts, codes, classes, fold, folds, columns, shares, out, often,
                      static_cast<int>(std::min<Index>(parts, threads)), threads);
    else
        count_one_by_one(starts, places, texts, codes, classes, fold, folds, columns, shares, out, often, threads);
}

namespace {

// 1 + ln c
struct OfCount {
    float of[MOST_COUNT + 1];
    OfCount() {
        for (std::uint32_t c = 0; c <= MOST_COUNT; ++c)
            of[c] = static_cast<float>(1.0 + std::log(std::max(static_cast<double>(c), 1.0)));
    }
};

const float* of_counts() {
    static const OfCount made;
    return made.of;
}

// values[from, to) divided by their Euclidean length.
void to_unit(float* values, std::size_t from, std::size_t to, double squares) {
    const float by = static_cast<float>(1.0 / std::sqrt(std::max(squares, 1e-300)));
    for (std::size_t e = from; e < to; ++e) values[e] *= by;
}

}  // namespace

Weighed text_rows(const Texts& texts, const Recipe& recipe, const Vocabulary& vocabulary, const float* scale,
                  int threads) {
    const Index n = static_cast<Index>(texts.size()), blocks = (n + BLOCK - 1) / BLOCK;
    const float* of_count = of_counts();
    Weighed out;
    out.starts.assign(static_cast<std::size_t>(n) + 1, 0);
    std::vector<Weighed> found(static_cast<std::size_t>(blocks));
    parallel_for(blocks, threads, [&](Index block) {
        Desk desk;
        Tally tally;
        Weighed& part = found[static_cast<std::size_t>(block)];
        for (Index i = block * BLOCK; i < std::min(n, (block + 1) * BLOCK); ++i) {
            lay_out(texts[static_cast<std::size_t>(i)], false, desk);
            tally.begin(most_grams(desk, recipe));
            each_gram(desk, recipe, [&](std::uint64_t hash, std::size_t, std::size_t) {
                const std::uint32_t bucket = bucket_of(hash);
                vocabulary.expect(bucket);
                tally.add(bucket);
            });
            const std::size_t first = part.values.size();
            double squares = 0.0;
            for (const std::uint32_t gram : tally.grams()) {
                const std::int32_t place = vocabulary.find(gram & (BUCKETS - 1));
                if (place < 0) continue;
                const float value = of_count[gram >> BUCKET_BITS] * scale[place];
                squares += static_cast<double>(value) * static_cast<double>(value);
                part.places.push_back(place);
                part.values.push_back(value);
            }
            to_unit(part.values.data(), first, part.values.size(), squares);
            out.starts[static_cast<std::size_t>(i) + 1] = static_cast<std::int64_t>(part.values.size());
        }
    });
    if (blocks == 1) {
        out.places = std::move(found[0].places);
        out.values = std::move(found[0].values);
        return out;
    }
    out.places.resize(static_cast<std::size_t>(run_on(out.starts)));
    out.values.resize(out.places.size());
    parallel_for(blocks, threads, [&](Index block) {
        const Weighed& part = found[static_cast<std::size_t>(block)];
        const std::int64_t at = out.starts[static_cast<std::size_t>(block * BLOCK)];
        std::copy(part.places.begin(), part.places.end(), out.places.begin() + at);
        std::copy(part.values.begin(), part.values.end(), out.values.begin() + at);
    });
    return out;
}

Weighed weigh(const std::int64_t* starts, const std::int32_t* places, const std::uint8_t* counts, Index texts,
              const float* scale, int threads) {
    const float* of_count = of_counts();
    Weighed out;
    out.starts.assign(static_cast<std::size_t>(texts) + 1, 0);
    const Index blocks = (texts + BLOCK - 1) / BLOCK;
    const auto each = [&](Index block, const auto& body) {
        for (Index i = block * BLOCK; i < std::min(texts, (block + 1) * BLOCK); ++i) body(i);
    };
    parallel_for(blocks, threads, [&](Index block) {
        each(block, [&](Index i) {
            std::int64_t kept = 0;
            for (std::int64_t e = starts[i]; e < starts[i + 1]; ++e) kept += scale[places[e]] > 0.0f;
            out.starts[static_cast<std::size_t>(i) + 1] = kept;
        });
    });
    for (Index i = 0; i < texts; ++i)
        out.starts[static_cast<std::size_t>(i) + 1] += out.starts[static_cast<std::size_t>(i)];
    out.places.resize(static_cast<std::size_t>(out.starts[static_cast<std::size_t>(texts)]));
    out.values.resize(out.places.size());
    parallel_for(blocks, threads, [&](Index block) {
        // Of one text, with room for all its n-grams, so that none takes a branch that is foretold wrong.
        std::vector<std::int32_t> own;
        std::vector<float> values;
        each(block, [&](Index i) {
            const std::size_t size = static_cast<std::size_t>(starts[i + 1] - starts[i]);
            if (own.size() < size) own.resize(size), values.resize(size);
            const auto first = out.starts[static_cast<std::size_t>(i)];
            std::size_t kept = 0;
            double squares = 0.0;
            for (std::int64_t e = starts[i]; e < starts[i + 1]; ++e) {
                const float value = of_count[counts[e]] * std::max(scale[places[e]], 0.0f);
                squares += static_cast<double>(value) * static_cast<double>(value);
                own[kept] = places[e];
                values[kept] = value;
                kept += scale[places[e]] > 0.0f;
            }
            to_unit(values.data(), 0, kept, squares);
            std::copy_n(own.begin(), kept, out.places.begin() + first);
            std::copy_n(values.begin(), kept, out.values.begin() + first);
        });
    });
    return out;
}

}  // namespace luce
