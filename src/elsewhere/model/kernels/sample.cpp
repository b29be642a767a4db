// Stored slices go in, a network input comes out: shifted, clipped, scaled and turned in one pass.
//
// Each output is (float)(uint16)(stored - lower) * factor, as numpy computes it in model/sample.py: the same bytes. A plane is
// turned in strips that stay in the cache; a large output is written past the cache, which it would only empty.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

#include "abi.h"
#include "threads.h"
#include "targets.h"

// One call, filled in by kernels/sample.py; arrays are C-contiguous.
struct Sample {
    const void* voxels;  // [slices][rows][columns] as stored
    int wide;            // 0 uint8, 1 int16
    int slices, rows, columns;
    int reversed[3];     // slices, rows and columns of the output run against those (after the swap) stored
    int swapped;         // the output's rows are the stored columns
    int clip, lower, upper;
    float factor;
    int aside;           // write past the cache
    float* out;          // [slices][rows][columns]; [slices][columns][rows] where swapped
    int lanes, threads;  // the same bytes for any number of threads
};

namespace {

constexpr int STRIP = 32;                   // rows of a turned strip: 64 bytes of a stored row
constexpr int TILE = 8;
constexpr int PAD = 32;                     // so that the rows of a strip do not share their places in the cache

// One thread's: a row as floats, a stored row mirrored, a turned strip.
struct Desk {
    std::vector<float> line;
    std::vector<int16_t> mirrored, strip;  // wide enough for both widths of a voxel

    explicit Desk(const Sample& sample)
        : line(std::max(sample.rows, sample.columns)),
          mirrored(line.size()),
          strip(sample.swapped ? (size_t)STRIP * (sample.rows + PAD) : 0) {}
};

typedef uint16_t Eight __attribute__((vector_size(16)));
typedef uint16_t Loose __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(8), aligned(1), may_alias));

#if defined(__clang__)
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(a, b, ...) __builtin_shuffle(a, b, Eight{__VA_ARGS__})
#endif

#if DISPATCHED
#define LANES 16
BEGIN_TARGET("avx512f,avx512bw,avx512vl")
namespace avx512 {
#include "sample_kernel.h"
}
END_TARGET
#undef LANES
#define LANES 8
BEGIN_TARGET("avx2")
namespace avx2 {
#include "sample_kernel.h"
}
END_TARGET
#undef LANES
#endif

#define LANES 4
namespace plain {
#include "sample_kernel.h"
}

template <class Stored>
void fill(const Sample& sample) {
    auto slice = plain::fill<Stored>;
#if DISPATCHED
    if (sample.lanes >= 16 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        slice = avx512::fill<Stored>;
    else if (sample.lanes >= 8)
        slice = avx2::fill<Stored>;
#endif
    share_out<Desk>(sample, sample.slices, [&](Desk& desk, int number) { slice(sample, desk, number); });
}

}  // namespace

extern "C" {

const Place* elsewhere_sample_layout() {
    static const Place places[] = {
        WHOLE(Sample), PLACE(Sample, voxels), PLACE(Sample, wide), PLACE(Sample, slices), PLACE(Sample, rows),
        PLACE(Sample, columns), PLACE(Sample, reversed), PLACE(Sample, swapped), PLACE(Sample, clip),
        PLACE(Sample, lower), PLACE(Sample, upper), PLACE(Sample, factor), PLACE(Sample, aside), PLACE(Sample, out),
        PLACE(Sample, lanes), PLACE(Sample, threads), {nullptr, 0, 0}};
    return places;
}

// Fills the output. Returns 0, or 1 when memory runs out.
int elsewhere_sample(const Sample* sample) {
    try {
        sample->wide ? fill<int16_t>(*sample) : fill<uint8_t>(*sample);
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}
}
