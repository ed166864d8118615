#include "unicode.h"

#include <algorithm>
#include <cstddef>
#include <unordered_map>

namespace luce::unicode {

namespace {

constexpr std::uint32_t END = 0x110000, ASCII = 0x80;
constexpr std::uint32_t L0 = 0x1100, V0 = 0x1161, T0 = 0x11a7, S0 = 0xac00;  // Hangul: leads, vowels, tails, syllables
constexpr std::uint32_t LEADS = 19, VOWELS = 21, TAILS = 28, SYLLABLES = LEADS * VOWELS * TAILS;
constexpr std::uint8_t ODD = 0x80;  // may change, or change its neighbours, on the way to NFC

struct Whole {
    std::uint32_t first, second;
};

struct Tables {
    std::vector<std::uint8_t> kind;  // with ODD
    std::vector<std::uint8_t> combining;
    std::vector<std::uint32_t> folded;
    std::unordered_map<std::uint32_t, Whole> parts;
    std::unordered_map<std::uint64_t, std::uint32_t> joined;

    Tables() : kind(END), combining(END), folded(END) {
        spread(kinds, kind, [](std::uint32_t, std::int32_t v) { return static_cast<std::uint8_t>(v); });
        spread(unicode::combining, combining,
               [](std::uint32_t, std::int32_t v) { return static_cast<std::uint8_t>(v); });
        spread(folds, folded, [](std::uint32_t code, std::int32_t v) { return code + static_cast<std::uint32_t>(v); });
        for (const Pair& p : pairs) {
            parts.emplace(p.whole, Whole{p.first, p.second});
            if (p.joined) joined.emplace(key(p.first, p.second), p.whole);
            if (!p.joined) kind[p.whole] |= ODD;
            if (p.second != 0) kind[p.second] |= ODD;
        }
        for (std::uint32_t code = 0; code < END; ++code)
            if (combining[code] != 0) kind[code] |= ODD;
        for (std::uint32_t code = L0; code < 0x1200; ++code) kind[code] |= ODD;
    }

    static std::uint64_t key(std::uint32_t first, std::uint32_t second) {
        return static_cast<std::uint64_t>(first) << 32 | second;
    }

private:
    template <std::size_t n, class T, class Value>
    static void spread(const Run (&runs)[n], std::vector<T>& out, const Value& value) {
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint32_t end = i + 1 < n ? runs[i + 1].from : END;
            for (std::uint32_t code = runs[i].from; code < end; ++code) out[code] = value(code, runs[i].value);
        }
    }
};

const Tables& tables() {
    static const Tables made;
    return made;
}

// The code point that begins at `at`, which moves behind it; U+FFFD for one byte that begins none.
std::uint32_t decode(std::string_view bytes, std::size_t& at) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    const std::uint8_t lead = byte(at);
    const int more = lead < 0xc2 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : 0;
    const std::size_t start = at++;
    if (more == 0 || start + static_cast<std::size_t>(more) >= bytes.size()) return 0xfffd;
    std::uint32_t code = lead & (0x3fu >> more);
    for (int i = 1; i <= more; ++i) {
        const std::uint8_t next = byte(start + static_cast<std::size_t>(i));
        if ((next & 0xc0) != 0x80) return 0xfffd;
        code = code << 6 | (next & 0x3f);
    }
    const bool sound =
        more == 1 || (more == 2 ? code >= 0x800 && (code < 0xd800 || code >= 0xe000) : code >= 0x10000 && code < END);
    if (!sound) return 0xfffd;
    at = start + static_cast<std::size_t>(more) + 1;
    return code;
}

void push(Text& text, std::uint32_t code, std::size_t begin, std::size_t end, bool spans) {
    text.codes.push_back(code);
    if (spans) {
        text.begin.push_back(static_cast<std::uint32_t>(begin));
        text.end.push_back(static_cast<std::uint32_t>(end));
    }
}

// Decodes; true if the code points may not be in NFC.
bool read(std::string_view bytes, bool spans, Text& out) {
    const Tables& t = tables();
    bool odd = false;
    const std::size_t size = bytes.size();
    out.codes.resize(size);
    std::uint32_t* codes = out.codes.data();
    std::size_t n = 0;
    for (std::size_t at = 0; at < size; ++n) {
        const std::size_t begin = at;
        const std::uint8_t lead = static_cast<std::uint8_t>(bytes[at]);
        if (lead < ASCII) {
            codes[n] = lead;
            ++at;
        } else {
            const std::uint32_t code = decode(bytes, at);
            codes[n] = code;
            odd = odd || (code - S0 >= SYLLABLES && (t.kind[code] & ODD));
        }
        if (spans) {
            out.begin.push_back(static_cast<std::uint32_t>(begin));
            out.end.push_back(static_cast<std::uint32_t>(at));
        }
    }
    out.codes.resize(n);
    return odd;
}

void decompose(std::uint32_t code, std::size_t begin, std::size_t end, bool spans, Text& out) {
    const Tables& t = tables();
    if (code - S0 < SYLLABLES) {
        const std::uint32_t place = code - S0, tail = place % TAILS;
        push(out, L0 + place / (VOWELS * TAILS), begin, end, spans);
        push(out, V0 + place / TAILS % VOWELS, begin, end, spans);
        if (tail != 0) push(out, T0 + tail, begin, end, spans);
        return;
    }
    const auto found = t.parts.find(code);
    if (found == t.parts.end()) return push(out, code, begin, end, spans);
    decompose(found->second.first, begin, end, spans, out);
    if (found->second.second != 0) decompose(found->second.second, begin, end, spans, out);
}

// The code point that two compose to; 0 if none.
std::uint32_t composed(std::uint32_t first, std::uint32_t second) {
    if (first - L0 < LEADS && second - V0 < VOWELS) return S0 + ((first - L0) * VOWELS + (second - V0)) * TAILS;
    if (first - S0 < SYLLABLES && (first - S0) % TAILS == 0 && second - T0 - 1 < TAILS - 1)
        return first + (second - T0);
    const auto found = tables().joined.find(Tables::key(first, second));
    return found == tables().joined.end() ? 0 : found->second;
}

// Marks of each run of combining ones in their canonical order.
void reorder(Text& text, bool spans) {
    const auto& combining = tables().combining;
    const std::size_t n = text.codes.size();
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < n;) {
        if (combining[text.codes[i]] == 0) {
            ++i;
            continue;
        }
        std::size_t end = i;
        while (end < n && combining[text.codes[end]] != 0) ++end;
        if (end - i > 1) {
            order.resize(end - i);
            for (std::size_t k = 0; k < order.size(); ++k) order[k] = i + k;
            std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
                return combining[text.codes[a]] < combining[text.codes[b]];
            });
            const auto arranged = [&](std::vector<std::uint32_t>& values) {
                std::vector<std::uint32_t> sorted(order.size());
                for (std::size_t k = 0; k < order.size(); ++k) sorted[k] = values[order[k]];
                std::copy(sorted.begin(), sorted.end(), values.begin() + static_cast<std::ptrdiff_t>(i));
            };
            arranged(text.codes);
            if (spans) arranged(text.begin), arranged(text.end);
        }
        i = end;
    }
}

// NFC of `text`, in place (Unicode Standard, section 3.11).
void compose(Text& text, bool spans) {
    const auto& combining = tables().combining;
    Text wide;
    for (std::size_t i = 0; i < text.codes.size(); ++i)
        decompose(text.codes[i], spans ? text.begin[i] : 0, spans ? text.end[i] : 0, spans, wide);
    reorder(wide, spans);
    text = Text{};
    std::size_t starter = wide.codes.size();  // where in `text` the last starter stands; none yet
    bool none = true;
    int last = 0;  // the combining class of what was pushed after it
    for (std::size_t i = 0; i < wide.codes.size(); ++i) {
        const std::uint32_t code = wide.codes[i];
        const int own = combining[code];
        const std::size_t begin = spans ? wide.begin[i] : 0, end = spans ? wide.end[i] : 0;
        if (!none && (last == 0 ? starter + 1 == text.codes.size() : last < own)) {
            const std::uint32_t whole = composed(text.codes[starter], code);
            if (whole != 0) {
                text.codes[starter] = whole;
                if (spans) text.end[starter] = std::max(text.end[starter], static_cast<std::uint32_t>(end));
                continue;
            }
        }
        push(text, code, begin, end, spans);
        if (own == 0) starter = text.codes.size() - 1, none = false;
        last = own;
    }
}

// How many code points "http://", "https://" or "www." take at i; 0 if there are none.
std::size_t scheme_at(const std::vector<std::uint32_t>& codes, std::size_t i) {
    const auto starts = [&](const char* with) {
        std::size_t k = 0;
        for (; with[k] != 0; ++k) {
            if (i + k >= codes.size()) return std::size_t{0};
            const std::uint32_t code = codes[i + k], lower = code - 'A' < 26 ? code + 32 : code;
            if (lower != static_cast<std::uint32_t>(with[k])) return std::size_t{0};
        }
        return k;
    };
    for (const char* known : {"http://www.", "https://www.", "http://", "https://", "www."})
        if (const std::size_t length = starts(known)) return length;
    return 0;
}

bool of_a_word(Kind kind) { return kind == Kind::letter || kind == Kind::digit; }

// Fills `out` from code points in NFC.
void simplify(const Text& in, bool spans, Text& out) {
    const Tables& t = tables();
    const std::size_t n = in.codes.size();
    out.codes.resize(n);
    out.kinds.resize(n);
    std::uint32_t* codes = out.codes.data();
    Kind* kinds = out.kinds.data();
    std::size_t size = 0;
    const auto add = [&](std::uint32_t code, Kind kind, std::size_t i) {
        codes[size] = code;
        kinds[size++] = kind;
        if (spans) {
            out.begin.push_back(in.begin[i]);
            out.end.push_back(in.end[i]);
        }
    };
    enum class In { text, host, path } where = In::text;
    for (std::size_t i = 0; i < n; ++i) {
        std::uint32_t code = in.codes[i];
        Kind kind = Kind::hangul;
        if (code - S0 >= SYLLABLES) {
            code = t.folded[code];
            kind = static_cast<Kind>(t.kind[code] & ~ODD);
        }
        if (kind == Kind::ignored) continue;
        if (kind == Kind::space) {
            where = In::text;
            if (size != 0 && codes[size - 1] != ' ') add(' ', Kind::space, i);
            continue;
        }
        if (where != In::text) {
            if (where == In::host && (code == '/' || code == '?' || code == '#')) where = In::path;
            if (where == In::path && code < ASCII) continue;
            if (code >= ASCII) where = In::text;  // a sentence goes on without a blank
        } else if ((code == 'h' || code == 'w') && (size == 0 || !of_a_word(kinds[size - 1]))) {
            if (const std::size_t length = scheme_at(in.codes, i)) {
                add(ADDRESS, Kind::symbol, i);
                i += length - 1;
                where = In::host;
                continue;
            }
        }
        if (size > 1 && codes[size - 1] == code && codes[size - 2] == code && kind != Kind::digit) continue;
        add(code, kind, i);
    }
    if (size != 0 && codes[size - 1] == ' ') {
        --size;
        if (spans) out.begin.pop_back(), out.end.pop_back();
    }
    out.codes.resize(size);
    out.kinds.resize(size);
}

void clear(Text& text) {
    text.codes.clear();
    text.kinds.clear();
    text.begin.clear();
    text.end.clear();
}

}  // namespace

void normalise(std::string_view bytes, bool spans, Text& scratch, Text& out) {
    clear(scratch);
    clear(out);
    if (read(bytes, spans, scratch)) compose(scratch, spans);
    simplify(scratch, spans, out);
}

}  // namespace luce::unicode
