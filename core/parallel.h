// The one place where threads start.
#pragma once
#include <functional>

#include "view.h"

namespace luce {

// Calls body(block) once for every block in [0, blocks), on at most `threads` threads.
// What a block computes must not depend on which thread runs it or when: then results have the same
// bits for every number of threads. Calls from several Python threads, nested calls and
// threads == 1 run in the caller alone. Survives fork: the child starts threads of its own.
// An exception in body is passed on to the caller. body runs with rounding to nearest and gradual underflow; the
// caller's own modes are back afterwards.
void parallel_for(Index blocks, int threads, const std::function<void(Index)>& body);

}  // namespace luce
