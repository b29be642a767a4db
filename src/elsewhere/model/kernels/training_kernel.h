// Rows of maps in, convolved rows and sums of products out; one instruction set per inclusion.
//
// training.cpp includes this file as level1.cpp includes level1_kernel.h. Winograd's F(2x2, 3x3) over slices and rows, plain
// along the columns, forwards; its transpose for the weights' gradient. The samples of a batch lie side by side along
// the columns, a zero between two, so that small maps fill whole vectors too.

#include "vector.h"

static inline void transform(Vec& a, Vec& b, Vec& c, Vec& d) {
    const Vec p = a - c, q = b + c, r = c - b, s = b - d;
    a = p, b = q, c = r, d = s;
}

// The transpose of what turns products into two outputs.
static inline void spread(Vec a, Vec b, Vec (&to)[4]) { to[0] = a, to[1] = a + b, to[2] = a - b, to[3] = -b; }

// As total, but not one lane after the other.
static inline double sum_of(Vec v) {
    double half[LANES / 2];
    for (int i = 0; i < LANES / 2; i++) half[i] = (double)v[i] + v[i + LANES / 2];
    for (int width = LANES / 4; width > 0; width /= 2)
        for (int i = 0; i < width; i++) half[i] += half[i + width];
    return half[0];
}

static inline Vec load_some(const float* from, int count) {
    float all[LANES] = {};
    std::memcpy(all, from, count * sizeof(float));
    return load(all);
}

// Calls take(column, vector of that column) along a row, the last one filled up with zeros.
template <class Take>
static inline void along(const float* row, int columns, Take take) {
    int x = 0;
    for (; x + LANES <= columns; x += LANES) take(x, load(row + x));
    if (x < columns) take(x, load_some(row + x, columns - x));
}

static inline void store_some(float* to, int x, int columns, Vec v) {
    if (x + LANES <= columns)
        store(to + x, v);
    else
        std::memcpy(to + x, &v, (columns - x) * sizeof(float));
}

// One row of one sample as it is read; it is held.
static inline void read_row(const Maps& in, int sample, int channel, int slice, int row, float* to) {
    const float* from = in.row(sample, channel, slice, row);
    const size_t at = (size_t)sample * in.channels + channel;
    const int columns = in.columns;
    if (in.step) {
        along(from, columns, [&](int x, Vec v) { store_some(to, x, columns, v > 0.0f ? Vec{} + 1.0f : Vec{}); });
    } else if (in.scale) {
        const float scale = in.scale[at], shift = in.shift[at];
        along(from, columns, [&](int x, Vec v) { store_some(to, x, columns, scale * v + shift); });
    } else {
        along(from, columns, [&](int x, Vec v) { store_some(to, x, columns, v); });
    }
    if (in.blocks) in.blocks[sample].blank(channel, slice, row, to);
}

// Lines of a row that is read or (WRITTEN) filled soon; it may lie beyond the maps.
template <int WRITTEN = 0>
static inline void fetch(const float* row, int columns) {
    for (int x = 0; x < columns; x += LINE / (int)sizeof(float)) __builtin_prefetch(row + x, WRITTEN, 2);
}

// One row of all samples; what lies between samples is left as it is.
static inline void read_rows(const Maps& in, int channel, int slice, int row, float* to) {
    const bool held = in.holds(slice, row);
    for (int n = 0; n < in.samples; n++, to += in.columns + 1)
        if (held) {
            fetch(in.row(n, channel, slice, row) + AHEAD * in.columns, in.columns);
            read_row(in, n, channel, slice, row, to);
        } else {
            std::fill_n(to, in.columns, 0.0f);
        }
}

// The four rows around a tile, transformed over its slices, of every channel; each is read once.
struct Rows {
    const Maps& in;
    int width;
    float *four, *ring;  // [4][width] as read; [channel][row % 4][4][width] transformed, alive while four rows pass

    static size_t floats(const Maps& in, size_t width) { return 4 * width * (1 + 4 * (size_t)in.channels); }
    Rows(const Maps& maps, int wide, float* memory)
        : in(maps), width(wide), four(memory), ring(memory + 4 * (size_t)width) {}
    float* at(int channel, int row) { return ring + ((size_t)channel * 4 + (row & 3)) * 4 * width; }

    void read(int channel, int slice, int row) {
        float* to = at(channel, row);
        for (int i = 0; i < 4; i++) read_rows(in, channel, slice - 1 + i, row, four + i * width);
        for (int x = 0; x < width; x += LANES) {
            Vec a = load(four + x), b = load(four + width + x), c = load(four + 2 * width + x),
                d = load(four + 3 * width + x);
            transform(a, b, c, d);
            store(to + x, a), store(to + width + x, b), store(to + 2 * width + x, c), store(to + 3 * width + x, d);
        }
    }

    // 16 points around one channel's tile at (slice, row), rows in ascending order: points[p * step + column].
    void to_points(int channel, int slice, int row, float* points, size_t step) {
        for (int r = row ? row + 1 : -1; r < row + 3; r++) read(channel, slice, r);
        const float* rows[4];
        for (int j = 0; j < 4; j++) rows[j] = at(channel, row - 1 + j);
        for (int i = 0; i < 4; i++)
            for (int x = 0; x < width; x += LANES) {
                Vec d[4];
                for (int j = 0; j < 4; j++) d[j] = load(rows[j] + i * width + x);
                transform(d[0], d[1], d[2], d[3]);
                for (int j = 0; j < 4; j++) store(points + (i * 4 + j) * step + x, d[j]);
            }
    }
};

// The same for the 2x2 rows of a gradient, transposed.
static void to_gradient_points(const Weighing& job, int channel, int slice, int row, float* rows, float* points,
                               size_t step) {
    const int width = job.width;
    for (int i = 0; i < 4; i++)
        if (slice + i / 2 < job.last)
            read_rows(job.gradients, channel, slice + i / 2, row + i % 2, rows + i * width);
        else
            std::fill_n(rows + i * width, width, 0.0f);
    for (int x = 0; x < width; x += LANES) {
        Vec half[2][4], whole[4];
        for (int i = 0; i < 2; i++) spread(load(rows + 2 * i * width + x), load(rows + (2 * i + 1) * width + x), half[i]);
        for (int j = 0; j < 4; j++) {
            spread(half[0][j], half[1][j], whole);
            for (int i = 0; i < 4; i++) store(points + (i * 4 + j) * step + x, whole[i]);
        }
    }
}

// Two rows of two slices of OUT_BLOCK filters at V vectors of columns: tile[filter][slice][row][column].
template <int V>
static inline void multiply(const float* points, size_t stride, int channels, const float* weights, const float* bias,
                            bool rectifies, const float* inside, float* tile, size_t tile_stride) {
    Vec products[POINTS][OUT_BLOCK][V];
    for (int p = 0; p < POINTS; p++) {
        Vec sum[OUT_BLOCK][V];
        for (int o = 0; o < OUT_BLOCK; o++)
            for (int v = 0; v < V; v++) sum[o][v] = Vec{} + (p == 5 && bias ? bias[o] : 0.0f);
        for (int c = 0; c < channels; c++, points += stride)
            for (int tap = 0; tap < 3; tap++, weights += OUT_BLOCK) {
                Vec in[V];
                for (int v = 0; v < V; v++) in[v] = load(points + tap - 1 + v * LANES);
                for (int o = 0; o < OUT_BLOCK; o++)
                    for (int v = 0; v < V; v++) sum[o][v] += weights[o] * in[v];
            }
        for (int o = 0; o < OUT_BLOCK; o++)
            for (int v = 0; v < V; v++) products[p][o][v] = sum[o][v];
    }
    for (int o = 0; o < OUT_BLOCK; o++)
        for (int v = 0; v < V; v++) {
            Vec m[2][4];
            for (int j = 0; j < 4; j++) {
                const Vec a = products[j][o][v], b = products[4 + j][o][v], c = products[8 + j][o][v];
                m[0][j] = a + b + c;
                m[1][j] = b - c - products[12 + j][o][v];
            }
            const Vec mask = load(inside + v * LANES);
            for (int i = 0; i < 2; i++) {
                Vec y[2] = {m[i][0] + m[i][1] + m[i][2], m[i][1] - m[i][2] - m[i][3]};
                for (int j = 0; j < 2; j++) {
                    if (rectifies) y[j] = Vec{} > y[j] ? Vec{} : y[j];  // not a number stays
                    store(tile + (o * 4 + i * 2 + j) * tile_stride + v * LANES, y[j] * mask);
                }
            }
        }
}

// Float sums in lanes of one or more quantities, that go into double ones in time.
template <int COUNT>
struct Tally {
    Loose lanes[COUNT];
    int added;

    void drain(double* sums) {
        for (int i = 0; i < COUNT; i++) sums[i] += sum_of(lanes[i]), lanes[i] = Vec{};
        added = 0;
    }
};

// Those of a pair of slices, [slice][sample][filter], behind a thread's other floats.
static size_t tally_floats(const Maps& out) {
    return 2 * (size_t)out.samples * out.channels * sizeof(Tally<2>) / sizeof(float);
}

// One row of all samples to where it belongs, and its sums.
static inline void put_row(const Convolution& job, Tally<2>* tallies, int filter, int slice, int row,
                           const float* from) {
    const Maps& out = job.out;
    for (int n = 0; n < out.samples; n++, from += out.columns + 1) {
        float* to = out.row(n, filter, slice, row);
        const size_t at = (size_t)n * out.channels + filter;
        Tally<2>& tally = tallies[at];
        Vec sum = tally.lanes[0], square = tally.lanes[1];
        along(from, out.columns, [&](int x, Vec y) {
            store_some(to, x, out.columns, y);
            sum += y, square += y * y, tally.added++;
        });
        tally.lanes[0] = sum, tally.lanes[1] = square;
        double* sums = job.sums + ((size_t)(slice - job.first) * out.samples * out.channels + at) * 2;
        if (tally.added > ADDED || row + 1 == out.rows) tally.drain(sums);
    }
}

// Two slices, all rows.
static void convolve_pair(const Convolution& job, float* own, int pair) {
    const Maps &in = job.in, &out = job.out;
    const int width = rounded(in.spread(), 2 * LANES), slice = job.first + 2 * pair;
    const size_t stride = width + 2 * PAD;
    float *points = own + PAD, *inside = points + POINTS * in.channels * stride, *tile = inside + stride;
    Rows rows(in, width, tile + 4 * OUT_BLOCK * stride - PAD);
    const size_t each = (size_t)out.samples * out.channels;
    Tally<2>* const tallies = reinterpret_cast<Tally<2>*>(rows.four + Rows::floats(in, width));
    for (size_t i = 0; i < 2 * each; i++) new (tallies + i) Tally<2>{};
    for (int n = 0; n < in.samples; n++) std::fill_n(inside + n * (in.columns + 1), in.columns, 1.0f);
    for (int row = 0; row < in.rows; row += 2) {
        for (int c = 0; c < in.channels; c++) rows.to_points(c, slice, row, points + c * stride, in.channels * stride);
        for (int block = 0; block < out.channels; block += OUT_BLOCK) {
            const float* weights = job.weights + (size_t)block * POINTS * in.channels * 3;
            for (int o = 0; o < OUT_BLOCK; o++)
                for (int n = 0; n < out.samples; n++)
                    for (int i = 0; i < 2; i++) fetch<1>(out.row(n, block + o, slice + i, row), 2 * out.columns);
            for (int x = 0; x < width; x += 2 * LANES)
                multiply<2>(points + x, stride, in.channels, weights, job.bias ? job.bias + block : nullptr,
                            job.rectifies, inside + x, tile + x, stride);
            for (int o = 0; o < OUT_BLOCK; o++)
                for (int i = 0; i < 2 && slice + i < job.last; i++)
                    for (int j = 0; j < 2 && row + j < out.rows; j++)
                        put_row(job, tallies + i * each, block + o, slice + i, row + j,
                                tile + (o * 4 + i * 2 + j) * stride);
        }
    }
}

// sums[filter of the block][tap] += gradients times inputs over `width` columns.
static inline void add_products(const float* in, const float* gradients, size_t stride, int width, float* sums) {
    Vec sum[OUT_BLOCK][3];
    for (int o = 0; o < OUT_BLOCK; o++)
        for (int tap = 0; tap < 3; tap++) sum[o][tap] = load(sums + (o * 3 + tap) * LANES);
    for (int x = 0; x < width; x += LANES) {
        const Vec a = load(in + x - 1), b = load(in + x), c = load(in + x + 1);
        for (int o = 0; o < OUT_BLOCK; o++) {
            const Vec g = load(gradients + o * stride + x);
            sum[o][0] += g * a, sum[o][1] += g * b, sum[o][2] += g * c;
        }
    }
    for (int o = 0; o < OUT_BLOCK; o++)
        for (int tap = 0; tap < 3; tap++) store(sums + (o * 3 + tap) * LANES, sum[o][tap]);
}

// One run of slices: float sums in lanes, in double after every few rows.
static void weigh_run(const Weighing& job, float* own, int run) {
    const Maps &in = job.in, &gradients = job.gradients;
    const int channels = in.channels, filters = gradients.channels, width = job.width;
    const int row_pairs = (in.rows + 1) / 2, pairs = (job.last - job.first + 1) / 2;
    const int begin = pairs * run / job.runs, end = pairs * (run + 1) / job.runs;
    const size_t stride = (size_t)job.tiles * width + 2 * PAD, values = (size_t)POINTS * filters * channels * 3;
    float *points = own + PAD, *gradient_points = points + POINTS * channels * stride,
          *own_rows = gradient_points + POINTS * filters * stride - PAD;
    float *const sums = own_rows + 4 * width, *const ring = sums + values * LANES;
    Rows rows(in, width, ring);
    double* const to = job.sums + run * values;
    int tile = 0, flush = 0;
    const auto drain = [&] {
        for (size_t i = 0; i < values; i++) {
            to[i] += sum_of(load(sums + i * LANES));
            store(sums + i * LANES, Vec{});
        }
        flush = 0;
    };
    const auto add = [&] {
        for (int p = 0; p < POINTS; p++)
            for (int block = 0; block < filters; block += OUT_BLOCK)
                for (int c = 0; c < channels; c++)
                    add_products(points + (p * channels + c) * stride,
                                 gradient_points + (p * filters + block) * stride, stride, tile * width,
                                 sums + (((size_t)p * filters + block) * channels + c * OUT_BLOCK) * 3 * LANES);
        tile = 0;
        if (++flush == FLUSH) drain();
    };
    for (int pair = begin; pair < end; pair++)
        for (int r = 0; r < row_pairs; r++) {
            const int slice = job.first + 2 * pair, at = tile++ * width;
            for (int c = 0; c < channels; c++)
                rows.to_points(c, slice, 2 * r, points + c * stride + at, channels * stride);
            for (int o = 0; o < filters; o++)
                to_gradient_points(job, o, slice, 2 * r, own_rows, gradient_points + o * stride + at, filters * stride);
            if (tile == job.tiles || (r + 1 == row_pairs && pair + 1 == end)) add();
        }
    if (flush) drain();
}

// Winograd's weights in the order that multiply reads them: [block][point][channel][column tap][filter].
static void arrange(const float* weights, int filters, int channels, float* to) {
    for (int block = 0; block < filters; block += OUT_BLOCK)
        for (int p = 0; p < POINTS; p++)
            for (int c = 0; c < channels; c++)
                for (int tap = 0; tap < 3; tap++)
                    for (int o = block; o < block + OUT_BLOCK; o++) {
                        double sum = 0;
                        for (int i = 0; i < 3; i++)
                            for (int j = 0; j < 3; j++)
                                sum += G[p / 4][i] * G[p % 4][j] * weights[((o * channels + c) * 9 + i * 3 + j) * 3 + tap];
                        *to++ = (float)sum;
                    }
}

// One row of pools. kept, value: a row of floats each; place: a row of codes.
template <int WIDTH, bool DROPS>
static void pool_row(const Pooling& job, int n, int c, int slice, int row, float* kept, float* value, int* place) {
    const Maps& maps = job.maps;
    const int columns = maps.columns, pools = columns / WIDTH;
    const size_t at = job.at(n, c, slice, row);
    float* best = job.best + at;
    uint8_t* index = job.index + at;
    std::fill_n(value, columns, -std::numeric_limits<float>::infinity());
    std::fill_n(place, columns, (int)NOWHERE);
    if (DROPS) std::fill_n(index, pools, 0);
    const float sign = job.sign[c];
    for (int i = 0; i < job.depth; i++)
        for (int j = 0; j < job.height; j++) {
            const float* from = maps.row(n, c, slice + i, row + j);
            const int code = (i * job.height + j) * WIDTH;
            if (DROPS) {
                std::fill_n(kept, columns, 1.0f);
                maps.blocks[n].blank(c, slice + i, row + j, kept);
                for (int x = 0; x < columns; x++)
                    if (kept[x] == 0) index[x / WIDTH] = TOUCHED;
            }
            for (int x = 0; x < columns; x++) {
                const float v = sign * from[x];
                const bool larger = DROPS ? !(v <= value[x]) & (kept[x] != 0) : !(v <= value[x]);  // not a number is taken
                value[x] = larger ? v : value[x];
                place[x] = larger ? code : place[x];
            }
        }
    for (int k = 0; k < pools; k++) {
        float most = value[k * WIDTH];
        int where = place[k * WIDTH];
        for (int x = 1; x < WIDTH; x++) {
            const float v = value[k * WIDTH + x];
            const int code = place[k * WIDTH + x] + x;
            const bool better = (v > most) | ((v == most) & (code < where)) | ((where >= NOWHERE) & (code < NOWHERE));
            most = better ? v : most, where = better ? code : where;
        }
        const bool nothing = where >= NOWHERE;
        best[k] = nothing ? 0.0f : most;
        where = nothing ? (int)NOTHING : where;
        index[k] = DROPS ? index[k] | where : where;
    }
}

template <int WIDTH>
static void pool_rows(const Pooling& job, int slice, float* kept, float* value, int* place) {
    for (int at = 0; at < job.maps.samples * job.maps.channels; at++)
        for (int row = 0; row < job.maps.rows; row += job.height) {
            const int n = at / job.maps.channels, c = at % job.maps.channels;
            if (job.maps.blocks)
                pool_row<WIDTH, true>(job, n, c, slice, row, kept, value, place);
            else
                pool_row<WIDTH, false>(job, n, c, slice, row, kept, value, place);
        }
}

static void pool_slices(const Pooling& job, int slice, float* kept, float* value, int* place) {
    if (job.width == 1) pool_rows<1>(job, slice, kept, value, place);
    if (job.width == 2) pool_rows<2>(job, slice, kept, value, place);
    if (job.width == 3) pool_rows<3>(job, slice, kept, value, place);
    if (job.width == 4) pool_rows<4>(job, slice, kept, value, place);
}

// Gradient at the maps of one slice, over their values; sums[sample][filter] of it.
static void unpool_slice(const Pooling& job, const float* gain, const float* base, const float* slope, int slice,
                         float* wide, int* place, double* sums) {
    const Maps& maps = job.maps;
    const int columns = maps.columns;
    for (int at = 0; at < maps.samples * maps.channels; at++) {
        const int n = at / maps.channels, c = at % maps.channels;
        const float g = gain[at], p = base[at], q = slope[at];
        Tally<1> tally{};
        for (int r = 0; r < maps.rows; r++) {
            if (r % job.height == 0) {  // every pool's gradient and place, a column each
                const size_t pools = job.at(n, c, slice, r);
                for (int k = 0, x = 0; x < columns; k++)
                    for (int i = 0; i < job.width; i++, x++) {
                        wide[x] = g * job.best[pools + k];
                        place[x] = (job.index[pools + k] & ~TOUCHED) - i;
                    }
            }
            float* to = maps.row(n, c, slice, r);
            const int code = (slice % job.depth * job.height + r % job.height) * job.width;
            for (int x = 0; x < columns; x++) {
                const float all = p + q * to[x] + (place[x] == code ? wide[x] : 0.0f);
                to[x] = to[x] > 0 ? all : 0.0f;
            }
            along(to, columns, [&](int, Vec v) { tally.lanes[0] += v, tally.added++; });
            if (tally.added > ADDED || r + 1 == maps.rows) tally.drain(sums + at);
        }
    }
}

// One slice of one map: gradients times `kept` (0 where dropped), then, with LINE, where the map is above 0, gain *
// gradient + base + slope * map, else 0. Without, gradients that nothing changes are only summed.
template <bool WITH_LINE>
static void gate_map(const Gating& job, int n, int c, int slice, float* row, double* sums) {
    const Maps &gradients = job.gradients, &maps = job.maps;
    const int columns = maps.columns, at = n * maps.channels + c;
    const float kept = job.kept[n], gain = WITH_LINE ? job.gain[at] : 0, base = WITH_LINE ? job.base[at] : 0,
                slope = WITH_LINE ? job.slope[at] : 0;
    const bool written = WITH_LINE || gradients.blocks || kept != 1;
    Tally<4> tally{};
    for (int r = 0; r < maps.rows; r++) {
        float* to = gradients.row(n, c, slice, r);
        const float *map = maps.row(n, c, slice, r), *from = to;
        fetch<1>(to + AHEAD * columns, columns), fetch(map + AHEAD * columns, columns);
        if (gradients.blocks) read_row(gradients, n, c, slice, r, row), from = row;
        Vec sum = tally.lanes[0], product = tally.lanes[1], left = tally.lanes[2], above = tally.lanes[3];
        along(from, columns, [&](int x, Vec v) {
            const Vec y = x + LANES <= columns ? load(map + x) : load_some(map + x, columns - x), g = v * kept;
            const Vec leaves = WITH_LINE ? (y > 0.0f ? gain * g + base + slope * y : Vec{}) : g;
            sum += g, product += g * y, left += leaves, above += y > 0.0f ? Vec{} + 1.0f : Vec{};
            tally.added++;
            if (written) store_some(to, x, columns, leaves);
        });
        tally.lanes[0] = sum, tally.lanes[1] = product, tally.lanes[2] = left, tally.lanes[3] = above;
        if (tally.added > ADDED || r + 1 == maps.rows) tally.drain(sums);
    }
}

static void gate_slice(const Gating& job, int slice, float* row) {
    const Maps& maps = job.maps;
    double* sums = job.sums + (size_t)(slice - job.first) * maps.samples * maps.channels * 4;
    for (int n = 0; n < maps.samples; n++)
        for (int c = 0; c < maps.channels; c++, sums += 4)
            (job.gain ? gate_map<true> : gate_map<false>)(job, n, c, slice, row, sums);
}
