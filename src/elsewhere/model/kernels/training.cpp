// Maps and weights of a level of 3x3x3 convolutions go in; what one training step needs of it comes out.
//
// Five operations, each over a run of slices so that a caller may hold few of them: convolve (also backwards, with the
// weights turned round), weigh (the weights' gradient), pool, unpool and gate (the backward side of ReLU, GroupNorm and
// DropBlock). GroupNorm's affine and DropBlock are applied as a convolution reads its input, so what lies between two
// convolutions is never stored. Sums are kept per slice or per fixed run of slices and added in order: the same bytes
// for any number of threads. Not-a-numbers pass through, so that a broken step is seen in its loss.

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
#include <vector>

#include "abi.h"
#include "threads.h"

namespace {

constexpr int POINTS = 16;  // Winograd F(2x2, 3x3)
constexpr int PAD = 16;     // zero columns before and after each row: one vector of the widest set
constexpr int RUNS = 16;    // most runs of slices that a gradient is summed in
constexpr int LONG = 512;   // columns that pay for the sums they are added to
constexpr int LINE = 64;    // bytes of a cache line, and of the widest vector
constexpr int ADDED = 256;  // values that a float sum takes before it goes into a double one
constexpr int TOUCHED = 64, NOTHING = 128, NOWHERE = 255;  // marks of a pool that DropBlock reached
constexpr int AHEAD = 2;    // rows
constexpr int FLUSH = 16;   // times that float sums are added to before they go into double ones
constexpr double G[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};  // weights to Winograd points

}  // namespace

// DropBlock's blocks in one sample's maps, found by the channel, slice and row of their first corner.
struct Blocks {
    const int* offsets;        // [channels * slices * rows + 1] into columns
    const int* columns;        // of each corner, by line
    int slices, rows;          // where corners may lie
    int depth, height, width;  // of a block

    void blank(int channel, int slice, int row, float* to) const {
        const int top = std::max(0, row - height + 1), bottom = std::min(row, rows - 1);
        for (int s = std::max(0, slice - depth + 1); s <= std::min(slice, slices - 1); s++) {
            const int* line = offsets + ((size_t)channel * slices + s) * rows;
            for (int e = line[top]; e < line[bottom + 1]; e++) std::fill_n(to + columns[e], width, 0.0f);
        }
    }
};

// Maps of a batch, [sample][channel][slice][row][column], of which slices from `origin` on are held; zeros beyond.
struct Maps {
    float* data;
    int samples, channels, slices, rows, columns, origin;
    const float *scale, *shift;  // [sample][channel], applied on reading; null: 1 and 0
    const Blocks* blocks;        // [sample], blanked on reading; null: none
    int step;                    // read 1 where a value is above 0, else 0

    float* row(int sample, int channel, int slice, int row) const {
        const size_t line = (((size_t)sample * channels + channel) * slices + slice - origin) * rows + row;
        return data + line * columns;
    }
    bool holds(int slice, int row) const {
        return slice >= origin && slice < origin + slices && row >= 0 && row < rows;
    }
    int spread() const { return samples * (columns + 1) - 1; }  // columns of all samples, a zero between two
};

namespace {

int rounded(int columns, int lanes) { return (columns + lanes - 1) / lanes * lanes; }

struct Convolution {
    Maps in, out;
    const float *weights, *bias;  // bias: null for none
    int first, last;              // slices of `out` to fill
    int rectifies;
    double* sums;  // [slice - first][sample][filter][sum, sum of squares], zeros before
};

struct Weighing {
    Maps in, gradients;
    int first, last;
    int runs, tiles, width;  // runs of slices; tiles whose columns are laid side by side, so wide
    double* sums;     // [run][point][block of filters][channel][filter of the block][tap], zeros before
};

struct Pooling {
    Maps maps;
    int depth, height, width;     // of a pool
    const float* sign;            // [filter]: the largest of sign * value is kept
    float* best;                  // [sample][filter][slice / depth][row / height][column / width], `total` slices
    uint8_t* index;               // the same: place in its pool, + 64 if DropBlock reached it, + 128 if nothing is kept
    int total;                    // slices of all maps

    size_t at(int n, int c, int slice, int row) const {
        const size_t line = (((size_t)n * maps.channels + c) * (total / depth) + slice / depth) * (maps.rows / height);
        return (line + row / height) * (maps.columns / width);
    }
};

struct Gating {
    Maps gradients, maps;         // the same slices; the blocks are those of `gradients`
    int first;
    const float* kept;            // [sample]: factor of what DropBlock keeps
    const float *gain, *base, *slope;  // [sample][channel]; null: gradients leave as they are
    double* sums;                 // [slice - first][sample][channel][gradient, gradient * map, what leaves, maps above 0]
};

#define KERNEL "training_kernel.h"
#define HALVES 0
#include "dispatch.h"

struct Set {
    int lanes, out_block;
    void (*convolve)(const Convolution&, float*, int);
    void (*weigh)(const Weighing&, float*, int);
    void (*arrange)(const float*, int, int, float*);
    size_t (*rows)(const Maps&, size_t);
    size_t (*tallies)(const Maps&);
    void (*pool)(const Pooling&, int, float*, float*, int*);
    void (*unpool)(const Pooling&, const float*, const float*, const float*, int, float*, int*, double*);
    void (*gate)(const Gating&, int, float*);
};

#define SET(name, lanes, block)                                                                                   \
    {lanes, block, name::convolve_pair, name::weigh_run, name::arrange, name::Rows::floats, name::tally_floats,   \
     name::pool_slices, name::unpool_slice, name::gate_slice}

Set choose(int lanes) {
#if DISPATCHED
    if (lanes == 16) return SET(avx512, 16, 8);
    if (lanes == 8) return SET(avx2, 8, 4);
#endif
    (void)lanes;
    return SET(plain, 4, 4);
}

struct Freed {
    void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t(LINE)); }
};

struct Room {
    int threads;
    size_t floats, ints;
};

struct Zeros {
    std::unique_ptr<float[], Freed> memory;
    std::unique_ptr<int[]> whole;

    explicit Zeros(const Room& room)
        : memory(new (std::align_val_t(LINE)) float[room.floats]), whole(new int[room.ints]()) {
        std::fill_n(memory.get(), room.floats, 0.0f);
    }
};

// task(index, a thread's own `floats` zeros, its own `ints`) for every index below `count`.
template <class Task>
void share(int count, const Room& room, Task task) {
    share_out<Zeros>(room, count, [&](Zeros& own, int index) { task(index, own.memory.get(), own.whole.get()); });
}

// Sums of Winograd points to gradients of the weights, [filter][channel][27].
void finish_weights(const Weighing& job, int out_block, double* to) {
    const int filters = job.gradients.channels, channels = job.in.channels;
    const size_t run = (size_t)POINTS * filters * channels * 3;
    for (int k = 1; k < job.runs; k++)
        for (size_t i = 0; i < run; i++) job.sums[i] += job.sums[k * run + i];
    for (int o = 0; o < filters; o++)
        for (int c = 0; c < channels; c++)
            for (int tap = 0; tap < 27; tap++) {
                double sum = 0;
                for (int p = 0; p < POINTS; p++) {
                    const size_t block = ((size_t)p * (filters / out_block) + o / out_block) * channels + c;
                    sum += G[p / 4][tap / 9] * G[p % 4][tap / 3 % 3] *
                           job.sums[(block * out_block + o % out_block) * 3 + tap % 3];
                }
                *to++ = sum;
            }
}

template <class Work>
int guarded(Work work) {
    try {
        work();
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}

}  // namespace

// All return 0, or 1 when memory runs out.
extern "C" {

// out[first:last] = in convolved, with bias, rectified; sums[slice - first][sample][filter][sum, sum of squares].
int elsewhere_convolve(const Maps* in, const Maps* out, const float* weights, const float* bias, int first, int last,
                       int rectifies, double* sums, int lanes, int threads) {
    return guarded([&] {
        const Set set = choose(lanes);
        std::vector<float> arranged((size_t)POINTS * out->channels * in->channels * 3);
        set.arrange(weights, out->channels, in->channels, arranged.data());
        const Convolution job{*in, *out, arranged.data(), bias, first, last, rectifies, sums};
        const size_t width = rounded(in->spread(), 2 * set.lanes), stride = width + 2 * PAD;
        const size_t lines = POINTS * (size_t)in->channels + 1 + 4 * set.out_block;
        const size_t floats = lines * stride + set.rows(*in, width) + set.tallies(*out);
        share((last - first + 1) / 2, {threads, floats, 0}, [&](int pair, float* own, int*) {
            set.convolve(job, own, pair);
        });
    });
}

// weights[filter][channel][27], in double: sums of gradients (filters) times what they meet in `in` (channels).
int elsewhere_weigh(const Maps* in, const Maps* gradients, int first, int last, double* weights, int lanes,
                    int threads) {
    return guarded([&] {
        const Set set = choose(lanes);
        const int runs = std::min(RUNS, (last - first + 1) / 2), row_pairs = (in->rows + 1) / 2;
        const int apart = rounded(in->spread() + 1, set.lanes), tiles = std::min(row_pairs, LONG / apart);
        Weighing job{*in,   *gradients, first, last, runs, std::max(1, tiles),
                     tiles > 1 ? apart : rounded(in->spread(), set.lanes), nullptr};
        const size_t values = (size_t)POINTS * gradients->channels * in->channels * 3;
        std::vector<double> sums(runs * values);
        job.sums = sums.data();
        const size_t stride = (size_t)job.tiles * job.width + 2 * PAD;
        const size_t floats = values * set.lanes + (in->channels + gradients->channels) * POINTS * stride +
                              4 * (size_t)job.width + set.rows(*in, job.width);
        share(runs, {threads, floats, 0}, [&](int run, float* own, int*) { set.weigh(job, own, run); });
        finish_weights(job, set.out_block, weights);
    });
}

// Largest of sign * maps over pools of (depth, height, width), into slices of best and index, which hold `total` slices
// of maps; index: place in the pool, + 64 where DropBlock reached it, or 128 where it kept nothing.
int elsewhere_pool(const Maps* maps, int first, int last, const int* size, const float* sign, float* best,
                   uint8_t* index, int total, int lanes, int threads) {
    return guarded([&] {
        const Set set = choose(lanes);
        const Pooling job{*maps, size[0], size[1], size[2], sign, best, index, total};
        const size_t columns = maps->columns;
        share((last - first) / size[0], {threads, 2 * columns, columns}, [&](int task, float* own, int* place) {
            set.pool(job, first + task * size[0], own, own + columns, place);
        });
    });
}

// Maps after a ReLU become the gradient before it: where they are above 0, base + slope * map, and gain * gradient
// (of the pools) at each pool's place; else 0. sums[slice - first][sample][filter] of it.
int elsewhere_unpool(const Maps* maps, int first, int last, const int* size, float* gradients, uint8_t* index,
                     int total, const float* gain, const float* base, const float* slope, double* sums, int lanes,
                     int threads) {
    return guarded([&] {
        const Set set = choose(lanes);
        const Pooling job{*maps, size[0], size[1], size[2], nullptr, gradients, index, total};
        const size_t columns = maps->columns;
        share(last - first, {threads, columns, columns}, [&](int task, float* own, int* place) {
            set.unpool(job, gain, base, slope, first + task, own, place,
                       sums + (size_t)task * maps->samples * maps->channels);
        });
    });
}

// See gate_slice; sums[slice - first][sample][channel][gradient, gradient * map, what leaves, maps above 0].
int elsewhere_gate(const Maps* gradients, const Maps* maps, int first, int last, const float* kept, const float* gain,
                   const float* base, const float* slope, double* sums, int lanes, int threads) {
    return guarded([&] {
        const Set set = choose(lanes);
        const Gating job{*gradients, *maps, first, kept, gain, base, slope, sums};
        share(last - first, {threads, (size_t)maps->columns, 0}, [&](int task, float* own, int*) {
            set.gate(job, first + task, own);
        });
    });
}

// Voxels of channels x slices x rows x columns that one sample's blocks cover; -1 when memory runs out.
long long elsewhere_count_blanked(const Blocks* blocks, int channels, int slices, int rows, int columns) {
    std::unique_ptr<float[]> row(new (std::nothrow) float[columns]);
    if (!row) return -1;
    long long count = 0;
    for (int line = 0; line < channels * slices * rows; line++) {
        std::fill_n(row.get(), columns, 1.0f);
        blocks->blank(line / (slices * rows), line / rows % slices, line % rows, row.get());
        for (int x = 0; x < columns; x++) count += row[x] == 0;
    }
    return count;
}

int elsewhere_abi() { return ELSEWHERE_ABI; }

const Place* elsewhere_training_layout() {
    static const Place places[] = {
        WHOLE(Blocks), PLACE(Blocks, offsets), PLACE(Blocks, columns), PLACE(Blocks, slices), PLACE(Blocks, rows),
        PLACE(Blocks, depth), PLACE(Blocks, height), PLACE(Blocks, width),
        WHOLE(Maps), PLACE(Maps, data), PLACE(Maps, samples), PLACE(Maps, channels), PLACE(Maps, slices),
        PLACE(Maps, rows), PLACE(Maps, columns), PLACE(Maps, origin), PLACE(Maps, scale), PLACE(Maps, shift),
        PLACE(Maps, blocks), PLACE(Maps, step), {nullptr, 0, 0}};
    return places;
}
}
