#include "json_rows.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

namespace luce {

namespace {

constexpr double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};  // exact
constexpr int DEPTH = 8;  // of what stands beside the rows

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What is left of a body. Each function takes what it names, or says false where something else stands.
struct Text {
    const char* at;
    const char* end;

    void space() {
        while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
    }
    bool take(char c) {
        if (at == end || *at != c) return false;
        ++at;
        return true;
    }
    // A separator and the space around it.
    bool part(char c) {
        space();
        if (!take(c)) return false;
        space();
        return true;
    }
    bool word(std::string_view what) {
        if (static_cast<std::size_t>(end - at) < what.size() || std::memcmp(at, what.data(), what.size()) != 0)
            return false;
        at += what.size();
        return true;
    }
    // A string without escapes; its bytes are only good for comparison with those of a known one.
    bool string(std::string_view& out) {
        if (!take('"')) return false;
        const char* begin = at;
        while (at < end && *at != '"') {
            if (*at == '\\' || static_cast<unsigned char>(*at) < 0x20) return false;
            ++at;
        }
        out = {begin, static_cast<std::size_t>(at - begin)};
        return take('"');
    }
    // This very string; else nothing is taken.
    bool known(std::string_view what) {
        const std::size_t size = what.size();
        if (static_cast<std::size_t>(end - at) < size + 2 || *at != '"' || at[size + 1] != '"' ||
            std::memcmp(at + 1, what.data(), size) != 0)
            return false;
        at += size + 2;
        return true;
    }
    // The double nearest to a number: exact in one step where digits and power of ten are (Clinger, How to read
    // floating point numbers accurately, PLDI 1990, section 3), else by the library.
    bool number(double& out) {
        const char* begin = at;
        const bool negative = take('-');
        const char* first = at;
        std::uint64_t digits = 0;
        if (at == end || !is_digit(*at)) return false;
        while (at < end && is_digit(*at)) digits = 10 * digits + static_cast<std::uint64_t>(*at++ - '0');
        std::ptrdiff_t count = at - first;
        if (count > 1 && *first == '0') return false;
        std::ptrdiff_t power = 0;
        if (take('.')) {
            const char* fraction = at;
            while (at < end && is_digit(*at)) digits = 10 * digits + static_cast<std::uint64_t>(*at++ - '0');
            power = fraction - at;
            count -= power;
            if (power == 0) return false;
        }
        if (at < end && (*at == 'e' || *at == 'E')) {
            ++at;
            const bool down = at < end && *at == '-';
            if (down || (at < end && *at == '+')) ++at;
            const char* exponent = at;
            int value = 0;
            while (at < end && is_digit(*at)) {
                if (value < 100'000) value = 10 * value + (*at - '0');
                ++at;
            }
            if (at == exponent) return false;
            power += down ? -value : value;
        }
        if (count <= 19 && digits <= (std::uint64_t{1} << 53) && power >= -22 && power <= 22) {
            const auto whole = static_cast<double>(digits);
            out = power < 0 ? whole / POWERS[-power] : whole * POWERS[power];
            if (negative) out = -out;
            return true;
        }
#if defined(__cpp_lib_to_chars)
        return std::from_chars(begin, at, out).ec == std::errc() && std::isfinite(out);
#else
        (void)begin;
        return false;
#endif
    }
    // Any value of little depth, which is not looked at.
    bool skip(int depth = 0) {
        if (at == end || depth > DEPTH) return false;
        if (*at == '"') {
            ++at;
            while (at < end && *at != '"') {
                if (*at == '\\' && ++at == end) return false;
                ++at;
            }
            return take('"');
        }
        if (*at == '[' || *at == '{') {
            const char closing = *at == '[' ? ']' : '}';
            ++at;
            space();
            if (take(closing)) return true;
            do {
                space();
                if (!skip(depth + 1)) return false;
                space();
                if (closing == '}' && (!part(':') || !skip(depth + 1))) return false;
            } while (part(','));
            return part(closing);
        }
        const char* begin = at;
        while (at < end && std::strchr(",]} \n\r\t", *at) == nullptr) ++at;
        return at > begin;
    }
};

}  // namespace

JsonRows::JsonRows(std::vector<JsonColumn> columns) {
    std::set<std::pair<bool, Index>> places;
    columns_.reserve(columns.size());
    for (auto& plan : columns) {
        numbers_ += plan.level ? 0 : 1;
        places.emplace(plan.level, plan.place);
        columns_.push_back({std::move(plan), {}});
    }
    for (const auto& [level, place] : places)
        if (place < 0 || place >= (level ? levels() : numbers_)) throw std::invalid_argument("a place is out of range");
    if (places.size() != columns_.size()) throw std::invalid_argument("a place is taken twice");
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        by_name_.emplace(columns_[i].plan.name, i);
        std::int32_t code = 0;
        for (const auto& level : columns_[i].plan.levels) columns_[i].codes.emplace(level, code++);
    }
}

std::optional<JsonRows::Found> JsonRows::read(std::string_view body, Index most, Index stride, double* numbers,
                                              std::int32_t* codes) const {
    Text text{body.data(), body.data() + body.size()};
    const std::size_t count = columns_.size();
    std::vector<Index> seen(count, -1);  // the last row that gave each column
    std::optional<Found> found;
    text.space();
    if (!text.part('{')) return {};
    do {
        std::string_view key;
        text.space();
        if (!text.string(key) || !text.part(':')) return {};
        if (key != "rows") {
            if (!text.skip()) return {};
            continue;
        }
        if (found) return {};
        found = Found{0, static_cast<std::size_t>(text.at - body.data()), 0};
        if (!text.part('[')) return {};
        Index row = 0;
        do {
            if (row >= most || !text.part('{')) return {};
            std::size_t given = 0, next = 0;
            if (text.at < text.end && *text.at == '}') {
                ++text.at;
            } else {
                do {
                    if (next >= count || !text.known(columns_[next].plan.name)) {  // not in the order of the table
                        if (!text.string(key)) return {};
                        const auto place = by_name_.find(key);
                        if (place == by_name_.end()) return {};
                        next = place->second;
                    }
                    if (!text.part(':')) return {};
                    const Column& column = columns_[next];
                    if (seen[next] == row) return {};
                    seen[next] = row;
                    ++given;
                    const Index place = column.plan.place * stride + row;
                    if (column.plan.may_miss && text.word("null")) {
                        if (column.plan.level) {
                            codes[place] = static_cast<std::int32_t>(column.plan.levels.size()) + 1;
                        } else {
                            numbers[place] = std::numeric_limits<double>::quiet_NaN();
                        }
                    } else if (column.plan.level) {
                        std::string_view level;
                        if (!text.string(level)) return {};
                        const auto code = column.codes.find(level);
                        if (code == column.codes.end()) return {};
                        codes[place] = code->second;
                    } else if (column.plan.truth) {
                        const bool yes = text.word("true");
                        if (!yes && !text.word("false")) return {};
                        numbers[place] = yes ? 1.0 : 0.0;
                    } else if (!text.number(numbers[place])) {
                        return {};
                    }
                    ++next;
                } while (text.part(','));
                text.space();
                if (!text.take('}')) return {};
            }
            if (given < count) {
                for (std::size_t i = 0; i < count; ++i) {
                    const Column& column = columns_[i];
                    if (seen[i] == row) continue;
                    if (!column.plan.may_miss) return {};
                    const Index place = column.plan.place * stride + row;
                    if (column.plan.level) {
                        codes[place] = static_cast<std::int32_t>(column.plan.levels.size()) + 1;
                    } else {
                        numbers[place] = std::numeric_limits<double>::quiet_NaN();
                    }
                }
            }
            ++row;
        } while (text.part(','));
        if (!text.part(']')) return {};
        found->rows = row;
        found->end = static_cast<std::size_t>(text.at - body.data());
    } while (text.part(','));
    if (!text.part('}') || text.at != text.end) return {};
    return found;
}

}  // namespace luce
