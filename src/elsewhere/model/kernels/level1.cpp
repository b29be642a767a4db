// Stored CT voxels go in; level 1's channel sums (pass A) and pooled maxima before its last GroupNorm (pass B) come out.
//
// No level-1 activation is ever held: slabs of DEPTH slices stream through both convolutions four rows at a time.
// Pass A sums the rectified first convolution; the caller folds the sums into GroupNorm 1's affine. Pass B computes
// the first convolution again, applies that affine, convolves, rectifies, sums, and pools 4x4x4: pooling commutes with
// GroupNorm 2's per-channel affine once the sign of its scale is known, so the caller applies it to what is left.
// Sums are kept per slice, and each slice belongs to one task, so any number of threads gives the same bytes.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "abi.h"
#include "threads.h"
#include "winograd.h"

namespace {

constexpr int FILTERS = 8;       // level 1 of the paper: 8 filters, 3x3x3, pool 4x4x4 (protocol page, "Network")
constexpr int POOL = 4;
constexpr int POINTS = 16;       // Winograd F(2x2, 3x3)
constexpr int DEPTH = 8;         // slices a task takes at once
constexpr int PAD = 16;          // zero columns before and after each row: one vector of the widest set
constexpr int RING = 6;          // rows of the first convolution alive at once: 4 and one on either side
constexpr int ROWS = POOL + 4;   // input rows that those need
constexpr int MOST_WINDOWS = 8;  // that share one call
constexpr float NOTHING = -std::numeric_limits<float>::max();  // below every maximum
constexpr double G[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};  // weights to Winograd points

constexpr float NEAR = 0.75f, FAR = 1.5f;  // points of the windows' F(4, 3), with either sign, beside 0 and infinity

enum Pass { SUM, POOLED, SHARED, DROPPED };

}  // namespace

// DropBlock's blocks, found by the slice and row of their first corner.
struct Drops {
    const int* offsets;  // [slices * rows + 1] into entries; null: none
    const int* entries;  // filter * columns + column
    int slices, rows;    // where corners may lie
    int columns;         // of the map
    int depth, height, width;  // of a block

    template <class Visit>
    void visit(int slice, int row, Visit&& take) const {
        if (!offsets) return;
        const int top = std::max(0, row - height + 1), bottom = std::min(row, rows - 1);
        for (int s = std::max(0, slice - depth + 1); s <= std::min(slice, slices - 1); s++)
            for (int e = offsets[s * rows + top]; e < offsets[s * rows + bottom + 1]; e++)
                take(entries[e] / columns, entries[e] % columns);
    }
    void paint(int slice, int row, float* to, float value) const {  // to[filter][columns + 2 * PAD]
        visit(slice, row, [&](int filter, int column) {
            std::fill_n(to + (size_t)filter * (columns + 2 * PAD) + column, width, value);
        });
    }
};

// One call, filled in by level1_prediction.py; arrays are C-contiguous.
struct Job {
    const void* voxels;  // [slices][rows][columns] as stored
    int kind;            // 0 uint8, 1 int16, 2 float32
    int slices, rows, columns;
    int start, length;   // slices of `voxels` that are seen (may begin before them: padding there); zeros beyond
    int first, last;     // slices to compute, counted from start
    float zero, unit;    // normalised = (stored - zero) * unit, clipped to [low, high]
    float low, high, padding;
    int pass;
    int window_count, window_length;
    const int* starts;                // of each window, counted from start
    const float *scales, *shifts;     // GroupNorm 1 as an affine, [window][filter]
    const float *weights1, *bias1, *weights2, *bias2;
    const float* sign;                // of GroupNorm 2's scale, [filter]
    float* pooled;                    // [window][filter][window_length / 4][rows / 4][columns / 4]
    double* sums;                     // [window][window_length][filter][sum, sum of squares], zeros before
    Drops drops1, drops2;             // after the first and the second GroupNorm; unused outside DROPPED
    uint8_t* touched;                 // [filter][length / 4][rows / 4][columns / 4]: DropBlock reached into that pool
    int lanes, threads;
};

namespace {

struct Window {
    int start, length;
    const float* scale;
    float* pooled;
    double* sums;
    float constant[FILTERS][3][3];  // what bias and shifts come to, by [first, inner, last] row and column
};

struct Inside {  // some of the windows; threads take no memory
    int count, windows[MOST_WINDOWS];

    const int* begin() const { return windows; }
    const int* end() const { return windows + count; }
};

struct Plan : Job {
    size_t stride;
    const float *scale, *shift;  // GroupNorm 1, applied to the first convolution; 1 and 0 where windows share it
    std::vector<Window> windows;
    std::vector<float> memory;

    bool holds(int slice, int row) const { return slice >= 0 && slice < length && row >= 0 && row < rows; }

    Inside windows_inside(int slice) const {
        Inside found{};
        for (int w = 0; w < window_count; w++) {
            const int at = slice - windows[w].start;
            if (at >= POOL && at + 2 * POOL <= window_length) found.windows[found.count++] = w;
        }
        return found;
    }
};

struct Workspace {
    std::unique_ptr<float[]> memory;
    float *inputs, *hiddens, *points, *best, *masks;
    size_t stride;

    explicit Workspace(const Plan& plan) : stride(plan.stride) {
        const bool shared = plan.pass == SHARED, dropped = plan.pass == DROPPED;
        const size_t rows[] = {(DEPTH + 4) * ROWS, (DEPTH + 2) * RING * FILTERS,
                               (size_t)(shared ? 3 * 6 : POINTS) * FILTERS,
                               (size_t)(shared ? DEPTH / POOL * MOST_WINDOWS : 1) * FILTERS,
                               (size_t)(dropped ? 2 * 2 : 0) * FILTERS};
        memory.reset(new float[(rows[0] + rows[1] + rows[2] + rows[3] + rows[4]) * stride]());
        inputs = memory.get() + PAD;
        hiddens = inputs + rows[0] * stride;
        points = hiddens + rows[1] * stride;
        best = points + rows[2] * stride;
        masks = best + rows[3] * stride;
    }
    float* input(int slice, int row) { return inputs + (slice * ROWS + row) * stride; }
    float* hidden(int slice, int row) { return hiddens + (slice * RING + (row + RING) % RING) * FILTERS * stride; }
    float* row_points(int slice) { return points + slice % 3 * 6 * FILTERS * stride; }
    float* largest(int slice, int window) { return best + (slice / POOL * MOST_WINDOWS + window) * FILTERS * stride; }
    float* mask(int slice, int row) { return masks + (slice * 2 + row) * FILTERS * stride; }
    void blank(float* row) { std::fill_n(row - PAD, FILTERS * stride, 0.0f); }
};

// What DropBlock drops of a tile's 2x2 rows after the second GroupNorm, and which pools it reaches into.
void paint_mask(const Plan& plan, Workspace& work, int slice, int row, float value) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            plan.drops2.paint(slice + i, row + j, work.mask(i, j), value);
            const size_t layer = (size_t)(plan.length / POOL) * (plan.rows / POOL);
            const size_t line = (size_t)(slice / POOL) * (plan.rows / POOL) + row / POOL;
            plan.drops2.visit(slice + i, row + j, [&](int filter, int column) {
                uint8_t* to = plan.touched + (filter * layer + line) * (plan.columns / POOL);
                for (int x = column; x < column + plan.drops2.width; x++) to[x / POOL] = 1;
            });
        }
}

#define KERNEL "level1_kernel.h"
#define HALVES 1
#include "dispatch.h"

typedef void (*Slab)(const Plan&, Workspace&, int slice, int depth);
struct Set {
    Slab pass[4];
    void (*arrange)(const float*, int, float*);
    void (*arrange_rows)(const float*, float*);
};

#define SET(name) \
    {{name::sum_slab, name::pool_slab<false>, name::share_slab, name::pool_slab<true>}, name::arrange, name::arrange_rows}

Set choose(int lanes) {
#if DISPATCHED
    if (lanes == 32) return SET(avx512_bf16);
    if (lanes == 16) return SET(avx512);
    if (lanes == 8) return SET(avx2);
#endif
    (void)lanes;
    return SET(plain);
}

// Bias and shifts through the second convolution, where all its taps lie inside, or all but those over one border.
void fill_constants(const Job& job, const float* shift, Window& window) {
    for (int o = 0; o < FILTERS; o++)
        for (int side = 0; side < 3; side++)
            for (int edge = 0; edge < 3; edge++) {
                double sum = job.bias2[o];
                for (int tap = 0; tap < FILTERS * 27; tap++) {
                    const int row = tap / 3 % 3, column = tap % 3;
                    const bool over = (side != 1 && row == side) || (edge != 1 && column == edge);
                    if (!over) sum += (double)shift[tap / 27] * job.weights2[o * FILTERS * 27 + tap];
                }
                window.constant[o][side][edge] = (float)sum;
            }
}

Plan make_plan(const Job& job, const Set& set) {
    Plan plan{job, (size_t)job.columns + 2 * PAD, job.scales, job.shifts, {}, {}};
    const size_t first = POINTS * FILTERS * 3, second = POINTS * FILTERS * FILTERS * 4;
    plan.memory.resize(first + second + 2 * FILTERS);
    float *weights1 = plan.memory.data(), *weights2 = weights1 + first, *ones = weights2 + second;
    set.arrange(job.weights1, 1, weights1);
    if (job.pass == POOLED || job.pass == DROPPED) set.arrange(job.weights2, FILTERS, weights2);
    if (job.pass == SHARED) {
        set.arrange_rows(job.weights2, weights2);
        std::fill_n(ones, FILTERS, 1.0f);
        plan.scale = ones, plan.shift = ones + FILTERS;
    }
    plan.weights1 = weights1, plan.weights2 = weights2;
    const size_t pooled = (size_t)FILTERS * (job.window_length / POOL) * (job.rows / POOL) * (job.columns / POOL);
    for (int w = 0; w < job.window_count; w++) {
        plan.windows.push_back({job.starts[w], job.window_length, job.scales + w * FILTERS, job.pooled + w * pooled,
                                job.sums + (size_t)w * job.window_length * FILTERS * 2, {}});
        if (job.pass == SHARED) fill_constants(job, job.shifts + w * FILTERS, plan.windows[w]);
    }
    return plan;
}

void run(const Plan& plan, Slab slab) {
    const int tasks = (plan.last - plan.first + DEPTH - 1) / DEPTH;
    share_out<Workspace>(plan, tasks, [&](Workspace& own, int task) {
        const int slice = plan.first + task * DEPTH;
        slab(plan, own, slice, std::min(DEPTH, plan.last - slice));
    });
}

}  // namespace

extern "C" {

// Floats in the widest vector that this processor runs: 16 (AVX-512), 8 (AVX2 with FMA), 4.
int elsewhere_lanes() {
#if DISPATCHED
    if (__builtin_cpu_supports("avx512f")) return 16;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
#endif
    return 4;
}

// Voxels of filters x slices x rows x columns that the blocks cover; -1 when memory runs out.
long long elsewhere_count_dropped(const Drops* drops, int filters, int slices, int rows) {
    long long count = 0;
    const size_t words = drops->columns / 64 + 1;
    std::unique_ptr<uint64_t[]> line(new (std::nothrow) uint64_t[filters * words]());
    if (!line) return -1;
    for (int slice = 0; slice < slices; slice++)
        for (int row = 0; row < rows; row++) {
            drops->visit(slice, row, [&](int filter, int column) {
                for (int left = drops->width; left > 0;) {
                    const int bit = column % 64, here = std::min(left, 64 - bit);
                    line[filter * words + column / 64] |= ~0ull >> (64 - here) << bit;
                    column += here, left -= here;
                }
            });
            for (size_t i = 0; i < filters * words; i++) count += __builtin_popcountll(std::exchange(line[i], 0));
        }
    return count;
}

// The same for the fast mode: 32 bfloat16 where the processor multiplies them, else as above.
int elsewhere_fast_lanes() {
#if DISPATCHED
    if (__builtin_cpu_supports("avx512bf16")) return 32;
#endif
    return elsewhere_lanes();
}

int elsewhere_abi() { return ELSEWHERE_ABI; }

const Place* elsewhere_level1_layout() {
    static const Place places[] = {
        WHOLE(Drops), PLACE(Drops, offsets), PLACE(Drops, entries), PLACE(Drops, slices), PLACE(Drops, rows),
        PLACE(Drops, columns), PLACE(Drops, depth), PLACE(Drops, height), PLACE(Drops, width),
        WHOLE(Job), PLACE(Job, voxels), PLACE(Job, kind), PLACE(Job, slices), PLACE(Job, rows), PLACE(Job, columns),
        PLACE(Job, start), PLACE(Job, length), PLACE(Job, first), PLACE(Job, last), PLACE(Job, zero), PLACE(Job, unit),
        PLACE(Job, low), PLACE(Job, high), PLACE(Job, padding), PLACE(Job, pass), PLACE(Job, window_count),
        PLACE(Job, window_length), PLACE(Job, starts), PLACE(Job, scales), PLACE(Job, shifts), PLACE(Job, weights1),
        PLACE(Job, bias1), PLACE(Job, weights2), PLACE(Job, bias2), PLACE(Job, sign), PLACE(Job, pooled),
        PLACE(Job, sums), PLACE(Job, drops1), PLACE(Job, drops2), PLACE(Job, touched), PLACE(Job, lanes),
        PLACE(Job, threads), {nullptr, 0, 0}};
    return places;
}

// Runs one pass. Returns 0, or 1 when memory runs out.
int elsewhere_level1(const Job* job) {
    try {
        const Set set = choose(job->lanes);
        run(make_plan(*job, set), set.pass[job->pass]);
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}
}
