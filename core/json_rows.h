// Rows of a JSON body as columns of numbers and codes, for models of many small requests and of large ones; a body that
// is not plain is left to those who read by the rules.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "view.h"

namespace luce {

struct JsonColumn {
    std::string name;
    Index place = 0;     // of its line among the numbers, or the codes
    bool level = false;  // a text of a list, whose code is its place; else a number, or a truth value as 0 or 1
    bool truth = false;
    bool may_miss = false;  // null, or no cell at all, is taken: NaN, or the code after that of unseen levels
    std::vector<std::string> levels;
};

class JsonRows {
public:
    // Names and levels need no escape in JSON. Throws std::invalid_argument unless the places of the numbers, and of
    // the levels, are 0, 1, 2 ... in any order.
    explicit JsonRows(std::vector<JsonColumn> columns);
    JsonRows(const JsonRows&) = delete;  // its maps point into its columns
    JsonRows& operator=(const JsonRows&) = delete;

    struct Found {
        Index rows;
        std::size_t begin, end;  // of the array of rows in the body
    };

    // Reads {"rows": [{name: cell, ...}, ...], ...} into numbers (number columns x stride) and codes (level columns x
    // stride), row i of each line at i. None where the body is odd: no such object, a name unknown or twice, a cell of
    // another kind, a level unseen or with an escape, a cell missing that may not, a number beyond double precision, or
    // more rows than most. What stands beside the rows is skipped: it must be read, without begin to end, by others.
    std::optional<Found> read(std::string_view body, Index most, Index stride, double* numbers,
                              std::int32_t* codes) const;

    Index numbers() const { return numbers_; }
    Index levels() const { return static_cast<Index>(columns_.size()) - numbers_; }

private:
    struct Column {
        JsonColumn plan;
        std::unordered_map<std::string_view, std::int32_t> codes;
    };
    std::vector<Column> columns_;
    std::unordered_map<std::string_view, std::size_t> by_name_;
    Index numbers_ = 0;
};

}  // namespace luce
