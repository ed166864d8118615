// Chooses the kernels for this processor, once, by our own CPUID reading.
#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace luce {

namespace portable {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace x86_64_v3 {
extern const Kernels table;
}
namespace x86_64_v4 {
extern const Kernels table;
}

namespace {

struct Leaf {
    unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf) {
    Leaf x;
    if (!__get_cpuid_count(leaf, 0, &x.a, &x.b, &x.c, &x.d)) return Leaf{};
    return x;
}

bool has(unsigned word, unsigned bits) { return (word & bits) == bits; }

// The registers that the operating system saves: bits of XCR0.
unsigned saved_registers() {
    if (!has(cpuid(1).c, bit_OSXSAVE)) return 0;
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

bool runs_v3() {
    const Leaf one = cpuid(1), seven = cpuid(7), extended = cpuid(0x80000001);
    return has(saved_registers(), 0x6) &&
           has(one.c, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE | bit_SSE4_2 | bit_POPCNT) &&
           has(seven.b, bit_AVX2 | bit_BMI | bit_BMI2) && has(extended.c, bit_LZCNT);
}

bool runs_v4() {
    return runs_v3() && has(saved_registers(), 0xe6) &&
           has(cpuid(7).b, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL);
}

const Kernels* choose() {
    if (runs_v4()) return &x86_64_v4::table;
    if (runs_v3()) return &x86_64_v3::table;
    return &portable::table;
}

}  // namespace
#else
namespace {
const Kernels* choose() { return &portable::table; }
}  // namespace
#endif

const Kernels& kernels() {
    static const Kernels* const chosen = choose();
    return *chosen;
}

}  // namespace luce
