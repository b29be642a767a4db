// Normalised maps go in; one convolution of level 2, rectified, and its channel sums come out, whole or pooled 2x4x4.
//
// The GroupNorm before it is an affine that its input is read through; the GroupNorm after it is the caller's, from the
// sums, as in level1.cpp. Sums are kept per slice and each pair of slices is one task: any number of threads gives the
// same bytes.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <vector>

#include "abi.h"
#include "threads.h"
#include "winograd.h"

namespace {

constexpr int BLOCK = 8;  // filters whose products are held at once
constexpr int POOL = 4;   // rows and columns; slices are pooled in pairs (protocol page, "Network")
constexpr int PAD = 16;
constexpr float NEAR = 0.5f, FAR = 1.5f;  // Winograd's points, with either sign, beside 0 and infinity
constexpr float NOTHING = -std::numeric_limits<float>::max();

}  // namespace

// One call, filled in by level2_prediction.py; arrays are C-contiguous.
struct Layer {
    const float* maps;                 // [channels][slices][rows][columns]
    int channels, slices, rows, columns, filters;
    const float *scale, *shift;        // the norm before, [channels]
    const float *weights, *bias;       // [filters][channels][5][5][5]
    const float* sign;                 // of the norm's scale after, [filters]
    int pools;                         // 0: out is [filters][slices][rows][columns]; 1: halves and quarters of them
    float* out;
    double* sums;                      // [slices][filters][sum, sum of squares], zeros before
    int lanes, threads;

    const float* row(int channel, int slice, int row) const {
        if (slice < 0 || slice >= slices || row < 0 || row >= rows) return nullptr;
        return maps + (((size_t)channel * slices + slice) * rows + row) * columns;
    }
    float* out_row(int filter, int slice, int row) const {
        return out + (((size_t)filter * slices + slice) * rows + row) * columns;
    }
    void write_pooled(const float* best, int slice, int row) const {
        for (int o = 0; o < filters; o++) {
            float* to = out + (((size_t)o * (slices / 2) + slice / 2) * (rows / POOL) + row / POOL) * (columns / POOL);
            for (int x = 0; x < columns; x += POOL) {
                const float* four = best + (size_t)o * columns + x;
                to[x / POOL] = std::max(std::max(four[0], four[1]), std::max(four[2], four[3]));
            }
        }
    }
};

namespace {

struct Workspace {
    std::unique_ptr<float[]> memory;
    float *points, *best;

    explicit Workspace(const Layer& layer) {
        const size_t size = (size_t)36 * layer.channels * (layer.columns + 2 * PAD);
        memory.reset(new float[size + (size_t)layer.filters * layer.columns]());
        points = memory.get() + PAD;
        best = memory.get() + size;
    }
};

#define KERNEL "level2_kernel.h"
#define HALVES 1
#include "dispatch.h"

struct Set {
    void (*convolve)(const Layer&, Workspace&, int);
    void (*arrange)(const Layer&, float*);
};

Set choose(int lanes) {
#if DISPATCHED
    if (lanes == 32) return {avx512_bf16::convolve, avx512_bf16::arrange};
    if (lanes == 16) return {avx512::convolve, avx512::arrange};
    if (lanes == 8) return {avx2::convolve, avx2::arrange};
#endif
    (void)lanes;
    return {plain::convolve, plain::arrange};
}

void run(Layer layer) {
    const Set set = choose(layer.lanes);
    std::vector<float> weights((size_t)layer.filters * layer.channels * 5 * 36);
    set.arrange(layer, weights.data());
    layer.weights = weights.data();
    share_out<Workspace>(layer, layer.slices / 2, [&](Workspace& own, int pair) { set.convolve(layer, own, 2 * pair); });
}

}  // namespace

extern "C" {

const Place* elsewhere_level2_layout() {
    static const Place places[] = {
        WHOLE(Layer), PLACE(Layer, maps), PLACE(Layer, channels), PLACE(Layer, slices), PLACE(Layer, rows),
        PLACE(Layer, columns), PLACE(Layer, filters), PLACE(Layer, scale), PLACE(Layer, shift), PLACE(Layer, weights),
        PLACE(Layer, bias), PLACE(Layer, sign), PLACE(Layer, pools), PLACE(Layer, out), PLACE(Layer, sums),
        PLACE(Layer, lanes), PLACE(Layer, threads), {nullptr, 0, 0}};
    return places;
}

// Runs one layer. Returns 0, or 1 when memory runs out.
int elsewhere_level2(const Layer* layer) {
    try {
        run(*layer);
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}
}
