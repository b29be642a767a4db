// Maps of level 1 or of level 2's first half go in, rectified maps or pooled maxima come out; once per instruction set.
//
// level2.cpp includes this file as level1.cpp includes level1_kernel.h. The 5x5x5 convolutions are Winograd's F(2x2, 5x5) over
// slices and rows, at the points 0, 1/2, -1/2, 3/2, -3/2 and infinity, and plain along the columns: 45 products where
// the direct sum needs 125. In float32 one dimension of it loses 1.2 times what the direct sum loses.

#include "vector.h"

static inline void transform(Vec& a, Vec& b, Vec& c, Vec& d, Vec& e, Vec& f) {
    to_six_points(NEAR, FAR, a, b, c, d, e, f);
}

static inline void reduce(const Vec (&m)[6], Vec& first, Vec& second) {
    first = m[0] + m[1] + m[2] + m[3] + m[4];
    second = NEAR * (m[1] - m[2]) + FAR * (m[3] - m[4]) + m[5];
}

constexpr int STEP = HALF ? 2 : 1;  // channels in one lane

// 36 points of every channel (HALF: of every two) of the 6x6 rows around 2x2 output rows, normalised:
// points[point][channel][column].
static void to_points(const Layer& layer, int slice, int row, float* points) {
    const size_t stride = layer.columns + 2 * PAD;
    for (int c = 0; c < layer.channels; c += STEP)
        for (int x = 0; x < layer.columns; x += LANES) {
            Vec d[STEP][6][6];
            for (int n = 0; n < STEP; n++) {
                for (int i = 0; i < 6; i++)
                    for (int j = 0; j < 6; j++) {
                        const float* from = layer.row(c + n, slice - 2 + i, row - 2 + j);
                        d[n][i][j] = from ? layer.scale[c + n] * load(from + x) + layer.shift[c + n] : Vec{};
                    }
                auto& e = d[n];
                for (int j = 0; j < 6; j++) transform(e[0][j], e[1][j], e[2][j], e[3][j], e[4][j], e[5][j]);
                for (int i = 0; i < 6; i++) transform(e[i][0], e[i][1], e[i][2], e[i][3], e[i][4], e[i][5]);
            }
            float* to = points + c / STEP * stride + x;
            for (int p = 0; p < 36; p++)
                store(to + p * (layer.channels / STEP) * stride,
                      STEP == 2 ? half_pairs(d[0][p / 6][p % 6], d[STEP - 1][p / 6][p % 6]) : d[0][p / 6][p % 6]);
        }
}

// products[point][filter of the block][V vectors]: sums over channels and column taps.
template <int V>
static inline void multiply(const Layer& layer, const float* points, const float* weights, Vec (*products)[BLOCK][V]) {
    const size_t stride = layer.columns + 2 * PAD;
    const int channels = layer.channels / STEP;
    for (int p = 0; p < 36; p++, points += channels * stride)
        for (int half = 0; half < BLOCK; half += OUT_BLOCK) {
            Vec sum[OUT_BLOCK][V] = {};
            for (int c = 0; c < channels; c++)
                for (int tap = 0; tap < 5; tap++, weights += OUT_BLOCK) {
                    Vec in[V];
                    for (int v = 0; v < V; v++) in[v] = load(points + c * stride + tap - 2 + v * LANES);
                    for (int o = 0; o < OUT_BLOCK; o++)
                        for (int v = 0; v < V; v++) sum[o][v] = add_product<STEP>(sum[o][v], weights[o], in[v]);
                }
            for (int o = 0; o < OUT_BLOCK; o++)
                for (int v = 0; v < V; v++) products[p][half + o][v] = sum[o][v];
        }
}

// Sums, and either the map itself or the largest of each column over the pool's slices and rows.
static inline void take(const Layer& layer, int o, int slice, int row, int x, const Vec (&y)[2][2], Vec (*tally)[2],
                        float* best) {
    Vec most = load(best + o * layer.columns + x);
    for (int i = 0; i < 2; i++) {
        tally[0][i] += y[i][0] + y[i][1];
        tally[1][i] += y[i][0] * y[i][0] + y[i][1] * y[i][1];
        for (int j = 0; j < 2; j++) {
            most = larger(most, layer.sign[o] * y[i][j]);
            if (!layer.pools) store(layer.out_row(o, slice + i, row + j) + x, y[i][j]);
        }
    }
    store(best + o * layer.columns + x, most);
}

template <int V>
static inline void finish(const Layer& layer, Workspace& work, int block, int slice, int row, int x,
                          Vec (*tally)[2][2]) {
    Vec products[36][BLOCK][V];
    multiply<V>(layer, work.points + x, layer.weights + (size_t)block * (layer.channels / STEP) * 5 * 36,
                products);
    for (int o = 0; o < BLOCK; o++)
        for (int v = 0; v < V; v++) {
            Vec half[2][6], y[2][2];
            for (int j = 0; j < 6; j++) {
                Vec m[6];
                for (int i = 0; i < 6; i++) m[i] = products[i * 6 + j][o][v];
                reduce(m, half[0][j], half[1][j]);
            }
            for (int i = 0; i < 2; i++) {
                reduce(half[i], y[i][0], y[i][1]);
                for (int j = 0; j < 2; j++) y[i][j] = rectify(y[i][j] + layer.bias[block + o]);
            }
            take(layer, block + o, slice, row, x + v * LANES, y, tally[o], work.best);
        }
}

// Two slices, all rows.
static void convolve(const Layer& layer, Workspace& work, int slice) {
    for (int row = 0; row < layer.rows; row += 2) {
        if (row % POOL == 0) std::fill_n(work.best, (size_t)layer.filters * layer.columns, NOTHING);
        to_points(layer, slice, row, work.points);
        for (int block = 0; block < layer.filters; block += BLOCK) {
            Vec tally[BLOCK][2][2] = {};
            int x = 0;
            for (; x + 2 * LANES <= layer.columns; x += 2 * LANES)
                finish<2>(layer, work, block, slice, row, x, tally);
            for (; x < layer.columns; x += LANES) finish<1>(layer, work, block, slice, row, x, tally);
            for (int o = 0; o < BLOCK; o++)
                for (int i = 0; i < 2; i++) {
                    double* sums = layer.sums + ((size_t)(slice + i) * layer.filters + block + o) * 2;
                    sums[0] += total(tally[o][0][i]);
                    sums[1] += total(tally[o][1][i]);
                }
        }
        if (layer.pools && row % POOL == POOL - 2) layer.write_pooled(work.best, slice, row);
    }
}

static float weight_at(const Layer& layer, int p, int o, int c, int tap) {
    const float* from = layer.weights + (size_t)(o * layer.channels + c) * 125 + tap;
    double sum = 0;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            const double weight = point_weight(NEAR, FAR, 5, p / 6, i) * point_weight(NEAR, FAR, 5, p % 6, j);
            sum += weight * from[(i * 5 + j) * 5];
        }
    return (float)sum;
}

// Weights in the order that multiply reads them: [block][point][half][channel][column tap][filter].
static void arrange(const Layer& layer, float* to) {
    for (int block = 0; block < layer.filters; block += BLOCK)
        for (int p = 0; p < 36; p++)
            for (int half = block; half < block + BLOCK; half += OUT_BLOCK)
                for (int c = 0; c < layer.channels; c += STEP)
                    for (int tap = 0; tap < 5; tap++)
                        for (int o = half; o < half + OUT_BLOCK; o++) {
                            const float first = weight_at(layer, p, o, c, tap);
                            *to++ = STEP == 1 ? first : half_pair(first, weight_at(layer, p, o, c + 1, tap));
                        }
}
