// Vectors whose numbers are written before they are read: making one sets nothing to 0, so that its memory is first
// touched by the threads that write it.
#pragma once
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace luce {

template <class T>
struct Untouched : std::allocator<T> {
    template <class U>
    struct rebind {
        using other = Untouched<U>;
    };
    template <class U>
    void construct(U* at) noexcept {
        ::new (static_cast<void*>(at)) U;
    }
    template <class U, class... From>
    void construct(U* at, From&&... from) {
        ::new (static_cast<void*>(at)) U(std::forward<From>(from)...);
    }
};

template <class T>
using Room = std::vector<T, Untouched<T>>;

}  // namespace luce
