// Bytes of text -> code points that are alike where texts are: NFC, one case and one width, single spaces, no letter or
// sign more than twice in a row, nothing that cannot be seen; the host of a web address behind a sign of its own.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "unicode_tables.h"

namespace luce::unicode {

inline constexpr std::uint32_t ADDRESS = 0xF0000;  // a private code point: a web address begins

// The code points of one text, and what each is. spans: the bytes [begin, end) that each stands for, if asked for.
struct Text {
    std::vector<std::uint32_t> codes;
    std::vector<Kind> kinds;
    std::vector<std::uint32_t> begin, end;
};

// In time linear in the bytes, but for a run of n combining marks (n log n). A byte that is no UTF-8 becomes U+FFFD.
// Without spans, texts of any length; with them up to 4 GB. `scratch` is memory to work in, for the caller to keep.
void normalise(std::string_view bytes, bool spans, Text& scratch, Text& out);

}  // namespace luce::unicode
