// Results written past the cache, and what else goes on in memory while a block is worked.
// Only included by the files that are compiled once per instruction set, inside its namespace.
#pragma once
#include "lanes.h"

// A copy past the cache, cache line by cache line between other work: all at once it would hold up every later store.
class Stream {
public:
    Stream() = default;
    Stream(void* to, const void* from, Index bytes)
        : to_(static_cast<char*>(to)), from_(static_cast<const char*>(from)) {
        Index head = -reinterpret_cast<std::intptr_t>(to) & (LINE - 1);
        if (head > bytes) head = bytes;
        lines_ = (bytes - head) / LINE;
        const Index tail = head + lines_ * LINE;
        __builtin_memcpy(to_, from_, head);
        __builtin_memcpy(to_ + tail, from_ + tail, bytes - tail);
        to_ += head;
        from_ += head;
    }
    __attribute__((always_inline)) void line(Index i) const {
        if (i >= lines_) return;
        char* const to = to_ + i * LINE;
        const char* const from = from_ + i * LINE;
#if defined(__AVX512F__)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined(__SSE2__)
        for (int part = 0; part < LINE; part += 16)
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + part),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + part)));
#else
        __builtin_memcpy(to, from, LINE);
#endif
    }
    void from_line(Index i) const {
        for (; i < lines_; ++i) line(i);
    }

private:
    static constexpr int LINE = 64;
    char* to_ = nullptr;
    const char* from_ = nullptr;
    Index lines_ = 0;
};

// What goes on in memory while a block is worked: the last results are written, the next logits are read.
template <class T>
struct Meanwhile {
    Stream results;
    const T* next;
    __attribute__((always_inline)) void at(Index i) const {  // register i of the block
        __builtin_prefetch(next + i * WIDTH);
        results.line(i);
    }
};
