// Stored CT voxels go in; level 1's channel sums (pass A) and pooled maxima before its last GroupNorm (pass B) come out.
//
// No level-1 activation is ever held: slabs of DEPTH slices stream through both convolutions four rows at a time.
// Pass A sums the rectified first convolution; the caller folds the sums into GroupNorm 1's affine. Pass B computes
// the first convolution again, applies that affine, convolves, rectifies, sums, and pools 4x4x4: pooling commutes with
// GroupNorm 2's per-channel affine once the sign of its scale is known, so the caller applies it to what is left.
// Sums are kept per slice, and each slice belongs to one task, so any number of threads gives the same bytes.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace {

constexpr int FILTERS = 8;   // level 1 of the paper: 8 filters, 3x3x3, pool 4x4x4 (protocol.md, Network)
constexpr int POOL = 4;
constexpr int POINTS = 16;   // Winograd F(2x2, 3x3)
constexpr int DEPTH = 8;     // slices a task takes at once
constexpr int PAD = 16;      // zero columns before and after each row: one vector of the widest set
constexpr int RING = 6;      // rows of the first convolution alive at once: 4 and one on either side
constexpr int ROWS = POOL + 4;

struct Plan {
    const void* voxels;      // [slices][rows][columns] as stored
    int kind;                // 0 uint8, 1 int16, 2 float32
    int slices, rows, columns;
    int start, length;       // the window's first slice (may lie before the volume: padding there) and its slices
    float zero, unit;        // normalised = (stored - zero) * unit, clipped to [low, high]
    float low, high, padding;  // padding: what window slices outside the volume hold, normalised
    const float *weights1, *bias1, *weights2, *bias2;
    const float *scale, *shift;  // GroupNorm 1 as an affine, per filter
    const float* sign;       // +1 or -1: sign of GroupNorm 2's scale, per filter
    float* pooled;           // [filter][length / 4][rows / 4][columns / 4]
    double* sums;            // [length][filter][sum, sum of squares]
    size_t stride;

    bool holds(int slice, int row) const { return slice >= 0 && slice < length && row >= 0 && row < rows; }
};

struct Workspace {
    std::unique_ptr<float[]> memory;
    float *inputs, *hiddens, *points, *best;
    size_t stride;

    explicit Workspace(const Plan& plan) : stride(plan.stride) {
        const size_t rows[] = {(DEPTH + 4) * ROWS, (DEPTH + 2) * RING * FILTERS, POINTS * FILTERS, FILTERS};
        memory.reset(new float[(rows[0] + rows[1] + rows[2] + rows[3]) * stride]());
        inputs = memory.get() + PAD;
        hiddens = inputs + rows[0] * stride;
        points = hiddens + rows[1] * stride;
        best = points + rows[2] * stride;
    }
    float* input(int slice, int row) { return inputs + (slice * ROWS + row) * stride; }
    float* hidden(int slice, int row) { return hiddens + (slice * RING + (row + RING) % RING) * FILTERS * stride; }
    void blank(float* row) { std::fill_n(row - PAD, FILTERS * stride, 0.0f); }
};

template <class Stored>
void normalise(const Plan& plan, const Stored* from, float* to) {
    for (int x = 0; x < plan.columns; x++)
        to[x] = std::min(std::max(((float)from[x] - plan.zero) * plan.unit, plan.low), plan.high);
}

// Rows [row, row + rows) of the window's slices [slice, slice + slices), normalised, zero outside the window.
void read_rows(const Plan& plan, Workspace& work, int slice, int slices, int row, int rows) {
    for (int s = 0; s < slices; s++)
        for (int r = 0; r < rows; r++) {
            float* to = work.input(s, r);
            const int from = plan.start + slice + s;
            const bool inside = plan.holds(slice + s, row + r);
            if (!inside || from < 0 || from >= plan.slices) {
                std::fill_n(to, plan.columns, inside ? plan.padding : 0.0f);
                continue;
            }
            const size_t at = ((size_t)from * plan.rows + row + r) * plan.columns;
            if (plan.kind == 0) normalise(plan, static_cast<const uint8_t*>(plan.voxels) + at, to);
            if (plan.kind == 1) normalise(plan, static_cast<const int16_t*>(plan.voxels) + at, to);
            if (plan.kind == 2) normalise(plan, static_cast<const float*>(plan.voxels) + at, to);
        }
}

#if defined(__x86_64__) && defined(__GNUC__)
#define LANES 16
#define OUT_BLOCK 8
#pragma GCC push_options
#pragma GCC target("avx512f,fma")
namespace avx512 {
#include "lanes.h"
}
#pragma GCC pop_options
#undef LANES
#undef OUT_BLOCK
#define LANES 8
#define OUT_BLOCK 4
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "lanes.h"
}
#pragma GCC pop_options
#undef LANES
#undef OUT_BLOCK
#endif

#define LANES 4
#define OUT_BLOCK 4
namespace plain {  // 128 bits: SSE2, NEON, or whatever the compiler makes of it
#include "lanes.h"
}

typedef void (*Slab)(const Plan&, Workspace&, int);
struct Set {
    Slab sum, pool;
    void (*arrange)(const float*, int, float*);
};

Set choose(int lanes) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (lanes == 16) return {avx512::sum_slab, avx512::pool_slab, avx512::arrange};
    if (lanes == 8) return {avx2::sum_slab, avx2::pool_slab, avx2::arrange};
#endif
    return {plain::sum_slab, plain::pool_slab, plain::arrange};
}

int run(const Plan& plan, Slab slab, int threads) {
    std::atomic<int> next{0};
    std::vector<std::unique_ptr<Workspace>> workspaces;
    const auto work = [&](Workspace& own) {
        for (int slice; (slice = DEPTH * next++) < plan.length;) slab(plan, own, slice);
    };
    try {
        for (int i = 0; i < threads; i++) workspaces.emplace_back(new Workspace(plan));
    } catch (const std::bad_alloc&) {
        return 1;
    }
    std::vector<std::thread> crew;
    for (int i = 1; i < threads; i++) crew.emplace_back(work, std::ref(*workspaces[i]));
    work(*workspaces[0]);
    for (auto& one : crew) one.join();
    return 0;
}

}  // namespace

extern "C" {

// Floats in the widest vector that this processor runs: 16 (AVX-512), 8 (AVX2 with FMA), 4.
int elsewhere_lanes() {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f")) return 16;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
#endif
    return 4;
}

// Level 1 of one window; without `pooled` pass A, with it pass B. Returns 0, or 1 when memory runs out.
int elsewhere_level1(const void* voxels, int kind, int slices, int rows, int columns, int start, int length,
                     float zero, float unit, float low, float high, float padding, const float* weights1, const float* bias1, const float* scale,
                     const float* shift, const float* weights2, const float* bias2, const float* sign,
                     float* pooled, double* sums, int lanes, int threads) {
    const Set set = choose(lanes);
    float first[POINTS * FILTERS * 3], second[POINTS * FILTERS * FILTERS * 3];
    set.arrange(weights1, 1, first);
    if (pooled) set.arrange(weights2, FILTERS, second);
    std::memset(sums, 0, sizeof(double) * 2 * FILTERS * length);
    const Plan plan{voxels, kind, slices, rows, columns, start, length, zero, unit, low, high, padding,
                    first, bias1, second, bias2, scale, shift, sign, pooled, sums, (size_t)columns + 2 * PAD};
    return run(plan, pooled ? set.pool : set.sum, threads);
}
}
