// Chooses the kernels for this processor, once, by our own CPUID reading. LUCE_CPU=portable, x86_64_v3 or x86_64_v4
// asks for a lesser set; what the processor cannot run is never chosen.
#include <cstdlib>
#include <cstring>

#include "block_kernels.h"
#include "kernels.h"
#include "patch_kernels.h"
#include "softmax_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace luce {

#define LUCE_TABLES(name)                      \
    namespace name {                           \
    extern const Kernels table;                \
    extern const SoftmaxKernels softmax_table; \
    extern const PatchKernels patch_table;     \
    extern const BlockKernels block_table;     \
    }
LUCE_TABLES(portable)
#if defined(__x86_64__)
LUCE_TABLES(x86_64_v3)
LUCE_TABLES(x86_64_v4)
#endif

namespace {

struct Tables {
    const Kernels* kernels;
    const SoftmaxKernels* softmax;
    const PatchKernels* patches;
    const BlockKernels* blocks;
};

// Whether LUCE_CPU allows this set.
bool allowed(const char* name) {
    const char* asked = std::getenv("LUCE_CPU");
    return asked == nullptr || std::strcmp(asked, name) >= 0;  // portable < x86_64_v3 < x86_64_v4
}

#if defined(__x86_64__)
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

#endif

Tables choose() {
#if defined(__x86_64__)
    if (runs_v4() && allowed("x86_64_v4"))
        return {&x86_64_v4::table, &x86_64_v4::softmax_table, &x86_64_v4::patch_table, &x86_64_v4::block_table};
    if (runs_v3() && allowed("x86_64_v3"))
        return {&x86_64_v3::table, &x86_64_v3::softmax_table, &x86_64_v3::patch_table, &x86_64_v3::block_table};
#endif
    return {&portable::table, &portable::softmax_table, &portable::patch_table, &portable::block_table};
}

const Tables& tables() {
    static const Tables chosen = choose();
    return chosen;
}

}  // namespace

const Kernels& kernels() { return *tables().kernels; }
const SoftmaxKernels& softmax_kernels() { return *tables().softmax; }
const PatchKernels& patch_kernels() { return *tables().patches; }
const BlockKernels& block_kernels() { return *tables().blocks; }

}  // namespace luce
