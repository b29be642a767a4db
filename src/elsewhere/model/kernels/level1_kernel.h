// A normalised CT window goes in, level 1's sums and pooled maxima come out; one instruction set per inclusion.
//
// level1.cpp includes this file once for each instruction set, inside a namespace, with LANES (floats in a vector)
// and OUT_BLOCK (filters computed together: as many as the registers hold) defined.
//
// The 3x3x3 convolutions are Winograd's F(2x2, 3x3) over slices and rows (Lavin & Gray 2016, arXiv:1509.09308) and
// plain along the columns, which lie in the vector: 12 products where the direct sum needs 27, and the transforms
// hold only 0, 1 and 1/2, so float32 loses no more than a bit.

#include "vector.h"

template <class Stored>
static inline void normalise(const Plan& plan, const Stored* from, float* to) {
    for (int x = 0; x < plan.columns; x++)
        to[x] = std::min(std::max(((float)from[x] - plan.zero) * plan.unit, plan.low), plan.high);
}

// Rows [row, row + rows) of slices [slice, slice + slices), normalised, zero outside what is seen.
static void read_rows(const Plan& plan, Workspace& work, int slice, int slices, int row, int rows) {
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

// The 4x4 rows (slices x rows) around 2x2 output rows, each at channel 0, column 0.
struct Tile {
    const float* row[4][4];
};

static inline void transform(Vec& a, Vec& b, Vec& c, Vec& d) {
    const Vec p = a - c, q = b + c, r = c - b, s = b - d;
    a = p, b = q, c = r, d = s;
}

// 16 Winograd points of every input channel (HALF: of every two): points[point][channel][column].
template <int IN>
static void to_points(const Tile& tile, const Plan& plan, float* points) {
    constexpr int STEP = HALF && IN > 1 ? 2 : 1;
    for (int c = 0; c < IN; c += STEP)
        for (int x = 0; x < plan.columns; x += LANES) {
            Vec d[STEP][4][4];
            for (int n = 0; n < STEP; n++) {
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++) d[n][i][j] = load(tile.row[i][j] + (c + n) * plan.stride + x);
                for (int j = 0; j < 4; j++) transform(d[n][0][j], d[n][1][j], d[n][2][j], d[n][3][j]);
                for (int i = 0; i < 4; i++) transform(d[n][i][0], d[n][i][1], d[n][i][2], d[n][i][3]);
            }
            float* to = points + c / STEP * plan.stride + x;
            for (int p = 0; p < POINTS; p++)
                store(to + p * (IN / STEP) * plan.stride,
                      STEP == 2 ? half_pairs(d[0][p / 4][p % 4], d[STEP - 1][p / 4][p % 4]) : d[0][p / 4][p % 4]);
        }
}

// products[point][filter][V vectors]: sums over input channels and column taps; the bias rides on point (1, 1).
template <int IN, int V>
static inline void multiply(const float* points, const Plan& plan, const float* weights, const float* bias,
                            Vec (*products)[FILTERS][V]) {
    constexpr int STEP = HALF && IN > 1 ? 2 : 1, CHANNELS = IN / STEP;
    for (int p = 0; p < POINTS; p++)
        for (int block = 0; block < FILTERS; block += OUT_BLOCK) {
            Vec sum[OUT_BLOCK][V];
            for (int o = 0; o < OUT_BLOCK; o++)
                for (int v = 0; v < V; v++) sum[o][v] = Vec{} + (p == 5 ? bias[block + o] : 0.0f);
            const float* w = weights + (p * FILTERS + block) * CHANNELS * 3;
            for (int c = 0; c < CHANNELS; c++)
                for (int tap = 0; tap < 3; tap++, w += OUT_BLOCK) {
                    const float* from = points + (p * CHANNELS + c) * plan.stride + tap - 1;
                    Vec in[V];
                    for (int v = 0; v < V; v++) in[v] = load(from + v * LANES);
                    for (int o = 0; o < OUT_BLOCK; o++)
                        for (int v = 0; v < V; v++) sum[o][v] = add_product<STEP>(sum[o][v], w[o], in[v]);
                }
            for (int o = 0; o < OUT_BLOCK; o++)
                for (int v = 0; v < V; v++) products[p][block + o][v] = sum[o][v];
        }
}

template <int IN, int V, class Sink>
static inline void finish(const float* points, const Plan& plan, const float* weights, const float* bias, int x,
                          Sink& sink) {
    Vec products[POINTS][FILTERS][V];
    multiply<IN, V>(points + x, plan, weights, bias, products);
    for (int o = 0; o < FILTERS; o++)
        for (int v = 0; v < V; v++) {
            Vec m[2][4], y[2][2];
            for (int j = 0; j < 4; j++) {
                const Vec a = products[j][o][v], b = products[4 + j][o][v], c = products[8 + j][o][v];
                m[0][j] = a + b + c;
                m[1][j] = b - c - products[12 + j][o][v];
            }
            for (int i = 0; i < 2; i++) {
                y[i][0] = rectify(m[i][0] + m[i][1] + m[i][2]);
                y[i][1] = rectify(m[i][1] - m[i][2] - m[i][3]);
            }
            sink.take(o, x + v * LANES, y);
        }
}

// One 2x2 tile of output rows: convolve, add the bias, rectify, hand each vector to the sink.
template <int IN, class Sink>
static void convolve(const Tile& tile, const Plan& plan, const float* weights, const float* bias, float* points,
                     Sink& sink) {
    to_points<IN>(tile, plan, points);
    int x = 0;
    for (; x + 2 * LANES <= plan.columns; x += 2 * LANES) finish<IN, 2>(points, plan, weights, bias, x, sink);
    for (; x < plan.columns; x += LANES) finish<IN, 1>(points, plan, weights, bias, x, sink);
}

// Sums of one tile in float lanes (at most 2 x columns / LANES terms each), flushed to double after it.
struct Sums {
    Vec sum[FILTERS][2], square[FILTERS][2];

    void add(int o, const Vec (&y)[2][2]) {
        for (int i = 0; i < 2; i++) {
            sum[o][i] += y[i][0] + y[i][1];
            square[o][i] += y[i][0] * y[i][0] + y[i][1] * y[i][1];
        }
    }
    void flush(double* sums) {  // sums[2 slices][filter][sum, sum of squares]
        for (int i = 0; i < 2; i++)
            for (int o = 0; o < FILTERS; o++) {
                *sums++ += total(sum[o][i]);
                *sums++ += total(square[o][i]);
            }
    }
};

struct SumSink : Sums {
    void take(int o, int, const Vec (&y)[2][2]) { add(o, y); }
};

struct NormSink {  // GroupNorm's affine, into the rows that the second convolution reads
    const Plan& plan;
    float* row[2][2];

    void take(int o, int x, const Vec (&y)[2][2]) {
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                store(row[i][j] + o * plan.stride + x, plan.scale[o] * y[i][j] + plan.shift[o]);
    }
};

// The largest (or, by sign, the smallest) of each column over the pool's slices and rows; what DropBlock drops, left out.
template <bool DROPS>
struct PoolSink : Sums {
    const Plan& plan;
    Workspace& work;

    void take(int o, int x, const Vec (&y)[2][2]) {
        add(o, y);
        float* at = work.best + o * plan.stride + x;
        Vec best = load(at);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) {
                Vec value = plan.sign[o] * y[i][j];
                if (DROPS) value += load(work.mask(i, j) + o * plan.stride + x);
                best = larger(best, value);
            }
        store(at, best);
    }
};

static void write_pooled(const Plan& plan, const Window& window, const float* best, int slice, int row) {
    for (int o = 0; o < FILTERS; o++) {
        const size_t at = ((size_t)o * (window.length / POOL) + slice / POOL) * (plan.rows / POOL) + row / POOL;
        float* to = window.pooled + at * (plan.columns / POOL);
        for (int x = 0; x < plan.columns; x += POOL) {
            const float* four = best + o * plan.stride + x;
            to[x / POOL] = std::max(std::max(four[0], four[1]), std::max(four[2], four[3]));
        }
    }
}

// Slices [slice, slice + depth) of the window through the first convolution: sums only.
static void sum_slab(const Plan& plan, Workspace& work, int slice, int depth) {
    for (int row = 0; row < plan.rows; row += 2) {
        read_rows(plan, work, slice - 1, depth + 2, row - 1, 4);
        for (int s = 0; s < depth; s += 2) {
            Tile tile;
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) tile.row[i][j] = work.input(s + i, j);
            SumSink sink{};
            convolve<1>(tile, plan, plan.weights1, plan.bias1, work.points, sink);
            sink.flush(plan.windows[0].sums + (size_t)(slice + s) * FILTERS * 2);
        }
    }
}

// First convolution and norm of rows (row, row + 1) of all slices that the slab's second convolution reads.
static void hide_rows(const Plan& plan, Workspace& work, int slice, int depth, int row, int first_row) {
    for (int s = -1; s <= depth; s += 2) {
        Tile tile;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) tile.row[i][j] = work.input(s + 1 + i, row - 1 + j - first_row);
        NormSink sink{plan, {}};
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) sink.row[i][j] = work.hidden(s + 1 + i, row + j);
        convolve<1>(tile, plan, plan.weights1, plan.bias1, work.points, sink);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                if (!plan.holds(slice + s + i, row + j))
                    work.blank(sink.row[i][j]);  // padding comes after the norm
                else
                    plan.drops1.paint(slice + s + i, row + j, sink.row[i][j], 0.0f);
    }
}

template <bool DROPS>
static void pool_rows(const Plan& plan, Workspace& work, int slice, int s, int row) {
    for (int o = 0; o < FILTERS; o++) std::fill_n(work.best + o * plan.stride, plan.columns, NOTHING);
    for (int i = s; i < s + POOL; i += 2) {
        PoolSink<DROPS> sink{{}, plan, work};
        for (int j = row; j < row + POOL; j += 2) {
            Tile tile;
            for (int a = 0; a < 4; a++)
                for (int b = 0; b < 4; b++) tile.row[a][b] = work.hidden(i + a, j - 1 + b);
            if (DROPS) paint_mask(plan, work, slice + i, j, NOTHING);
            convolve<FILTERS>(tile, plan, plan.weights2, plan.bias2, work.points, sink);
            if (DROPS) paint_mask(plan, work, slice + i, j, 0.0f);
        }
        sink.flush(plan.windows[0].sums + (size_t)(slice + i) * FILTERS * 2);
    }
    write_pooled(plan, plan.windows[0], work.best, slice + s, row);
}

// Slices [slice, slice + depth) through all of level 1 up to the pool, four rows at a time.
template <bool DROPS>
static void pool_slab(const Plan& plan, Workspace& work, int slice, int depth) {
    for (int row = 0; row < plan.rows; row += POOL) {
        read_rows(plan, work, slice - 2, depth + 4, row - 2, POOL + 4);
        for (int r = row ? row + 1 : -1; r < row + POOL; r += 2) hide_rows(plan, work, slice, depth, r, row - 2);
        for (int s = 0; s < depth; s += POOL) pool_rows<DROPS>(plan, work, slice, s, row);
    }
}

// Overlapping windows. The second convolution is linear in GroupNorm 1's scale, so what each input channel brings to
// each filter is computed once and summed for every window with its own scales; GroupNorm 1's shift passes through the
// convolution to a constant that is smaller at the border, where the kernel overhangs the zero padding. Here Winograd's
// F(4, 3) runs over the rows only: its six points times four filters stay in registers.

constexpr int PAIR = LANES == 16 ? 4 : 2;  // filters computed together

// Six points along the rows of a hidden slice: points[channel][point][column].
static void to_row_points(const Plan& plan, Workspace& work, int slice, int row) {
    float* to = work.row_points(slice);
    for (int c = 0; c < FILTERS; c++)
        for (int x = 0; x < plan.columns; x += LANES) {
            Vec d[6];
            for (int j = 0; j < 6; j++) d[j] = load(work.hidden(slice, row - 1 + j) + c * plan.stride + x);
            to_six_points(NEAR, FAR, d[0], d[1], d[2], d[3], d[4], d[5]);
            for (int p = 0; p < 6; p++) store(to + (c * 6 + p) * plan.stride + x, d[p]);
        }
}

// What every input channel brings to PAIR filters of POOL rows, from the points of the slices around, at column x.
static inline void bring(const float* const (&points)[3], const Plan& plan, int x, const float* weights,
                         Vec (*parts)[POOL][FILTERS]) {
    for (int c = 0; c < FILTERS; c++) {
        Vec m[6][PAIR] = {};
        const float* w = weights + c * 9 * 6 * PAIR;
        for (int s = 0; s < 3; s++)
            for (int tap = 0; tap < 3; tap++, w += 6 * PAIR) {
                const float* at = points[s] + c * 6 * plan.stride + x + tap - 1;
                for (int p = 0; p < 6; p++, at += plan.stride) {
                    const Vec in = load(at);
                    for (int o = 0; o < PAIR; o++) m[p][o] += w[p * PAIR + o] * in;
                }
            }
        for (int o = 0; o < PAIR; o++) {
            const Vec even = m[1][o] + m[2][o], odd = NEAR * (m[1][o] - m[2][o]);
            const Vec far_even = m[3][o] + m[4][o], far_odd = FAR * (m[3][o] - m[4][o]);
            parts[o][0][c] = m[0][o] + even + far_even;
            parts[o][1][c] = odd + far_odd;
            parts[o][2][c] = NEAR * NEAR * even + FAR * FAR * far_even;
            parts[o][3][c] = NEAR * NEAR * odd + FAR * FAR * far_odd + m[5][o];
        }
    }
}

// POOL rows of one slice of one window, at column x: fold the scales in, rectify, sum, keep the largest.
static inline void fold(const Plan& plan, const Window& window, const Vec (*parts)[POOL][FILTERS], int block, int row,
                        int x, Vec (*tally)[FILTERS], float* best) {
    for (int i = 0; i < PAIR; i++) {
        const int o = block + i;
        float* at = best + o * plan.stride + x;
        Vec most = load(at), sum{}, square{};
        for (int j = 0; j < POOL; j++) {
            const float* constant = window.constant[o][row + j == 0 ? 0 : row + j == plan.rows - 1 ? 2 : 1];
            Vec y = Vec{} + constant[1];
            if (x == 0) y[0] = constant[0];
            if (x + LANES == plan.columns) y[LANES - 1] = constant[2];
            for (int c = 0; c < FILTERS; c++) y += window.scale[c] * parts[i][j][c];
            y = rectify(y);
            sum += y;
            square += y * y;
            most = larger(most, plan.sign[o] * y);
        }
        tally[0][o] += sum;
        tally[1][o] += square;
        store(at, most);
    }
}

// POOL rows of the slab's slice s for the windows `inside`.
static void share_rows(const Plan& plan, Workspace& work, int slice, int s, int row, const Inside& inside) {
    const float* const points[3] = {work.row_points(s), work.row_points(s + 1), work.row_points(s + 2)};
    Vec tally[MOST_WINDOWS][2][FILTERS] = {};
    for (int x = 0; x < plan.columns; x += LANES)
        for (int block = 0; block < FILTERS; block += PAIR) {
            Vec parts[PAIR][POOL][FILTERS];
            bring(points, plan, x, plan.weights2 + block * FILTERS * 9 * 6, parts);
            for (int w : inside)
                fold(plan, plan.windows[w], parts, block, row, x, tally[w], work.largest(s, w));
        }
    for (int w : inside) {
        double* sums = plan.windows[w].sums + (size_t)(slice + s - plan.windows[w].start) * FILTERS * 2;
        for (int o = 0; o < FILTERS; o++) {
            *sums++ += total(tally[w][0][o]);
            *sums++ += total(tally[w][1][o]);
        }
    }
}

// Slices [slice, slice + depth) for every window that holds them away from its first and last four slices.
static void share_slab(const Plan& plan, Workspace& work, int slice, int depth) {
    Inside inside[DEPTH / POOL];
    for (int s = 0; s < depth; s += POOL) inside[s / POOL] = plan.windows_inside(slice + s);
    if (!inside[0].count && !inside[DEPTH / POOL - 1].count) return;
    for (int row = 0; row < plan.rows; row += POOL) {
        read_rows(plan, work, slice - 2, depth + 4, row - 2, POOL + 4);
        for (int r = row ? row + 1 : -1; r < row + POOL; r += 2) hide_rows(plan, work, slice, depth, r, row - 2);
        std::fill_n(work.largest(0, 0) - PAD, (DEPTH / POOL) * MOST_WINDOWS * FILTERS * plan.stride, NOTHING);
        for (int s = 0; s < depth + 2; s++) {
            to_row_points(plan, work, s, row);
            if (s >= 2) share_rows(plan, work, slice, s - 2, row, inside[(s - 2) / POOL]);
        }
        for (int s = 0; s < depth; s += POOL)
            for (int w : inside[s / POOL])
                write_pooled(plan, plan.windows[w], work.largest(s, w), slice + s - plan.windows[w].start, row);
    }
}

static float weight_at(const float* weights, int in, int p, int o, int c, int tap) {
    double sum = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            sum += G[p / 4][i] * G[p % 4][j] * weights[((o * in + c) * 9 + i * 3 + j) * 3 + tap];
    return (float)sum;
}

// Winograd's weights in the order that multiply reads them: [point][block][input channel][column tap][filter].
static void arrange(const float* weights, int in, float* to) {
    const int step = HALF && in > 1 ? 2 : 1;
    for (int p = 0; p < POINTS; p++)
        for (int block = 0; block < FILTERS; block += OUT_BLOCK)
            for (int c = 0; c < in; c += step)
                for (int tap = 0; tap < 3; tap++)
                    for (int o = block; o < block + OUT_BLOCK; o++) {
                        const float first = weight_at(weights, in, p, o, c, tap);
                        *to++ = step == 1 ? first : half_pair(first, weight_at(weights, in, p, o, c + 1, tap));
                    }
}

// The same over rows only, in the order that bring reads them: [block][channel][slice tap][column tap][point][filter].
static void arrange_rows(const float* weights, float* to) {
    for (int block = 0; block < FILTERS; block += PAIR)
        for (int c = 0; c < FILTERS; c++)
            for (int i = 0; i < 3; i++)
                for (int tap = 0; tap < 3; tap++)
                    for (int p = 0; p < 6; p++)
                        for (int o = block; o < block + PAIR; o++) {
                            double sum = 0;
                            for (int j = 0; j < 3; j++)
                                sum += point_weight(NEAR, FAR, 3, p, j) * weights[((o * FILTERS + c) * 9 + i * 3 + j) * 3 + tap];
                            *to++ = (float)sum;
                        }
}
