// Includes KERNEL once per instruction set that can be chosen at run time, each in a namespace of its own.
//
// LANES: floats in a vector. OUT_BLOCK: filters computed together, as many as the registers hold. HALF: products in
// bfloat16, a set of its own for kernels that set HALVES. Other processors and compilers get `plain`, 128 bits: SSE2,
// NEON, or whatever the compiler makes of it.

#include "targets.h"

#if DISPATCHED
#define LANES 16
#define OUT_BLOCK 8
#if HALVES
#define HALF 1
BEGIN_TARGET("avx512f,avx512bf16,fma")
namespace avx512_bf16 {
#include KERNEL
}
END_TARGET
#undef HALF
#endif
#define HALF 0
BEGIN_TARGET("avx512f,fma")
namespace avx512 {
#include KERNEL
}
END_TARGET
#undef LANES
#undef OUT_BLOCK
#define LANES 8
#define OUT_BLOCK 4
BEGIN_TARGET("avx2,fma")
namespace avx2 {
#include KERNEL
}
END_TARGET
#undef LANES
#undef OUT_BLOCK
#endif

#undef HALF
#define HALF 0
#define LANES 4
#define OUT_BLOCK 4
namespace plain {
#include KERNEL
}
