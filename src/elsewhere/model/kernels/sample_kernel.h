// Stored planes go in, planes of an input come out, row by row; sample.cpp includes this once per instruction set.

// A row as floats, in `to`.
template <class Stored>
static inline void scale_row(const Sample& sample, const Stored* __restrict from, int length, float* __restrict to) {
    const int lower = sample.lower, upper = sample.upper;
    const float factor = sample.factor;
    const auto value = [=](int stored) { return (float)(uint16_t)(stored - lower) * factor; };
    if (sample.clip)
        for (int x = 0; x < length; x++) to[x] = value(std::min(std::max((int)from[x], lower), upper));
    else
        for (int x = 0; x < length; x++) to[x] = value(from[x]);
}

static inline Eight load_eight(const int16_t* from) { return *reinterpret_cast<const Loose*>(from); }
static inline Eight load_eight(const uint8_t* from) {
    return __builtin_convertvector(*reinterpret_cast<const Bytes*>(from), Eight);
}
static inline void store_eight(Eight eight, int16_t* to) { *reinterpret_cast<Loose*>(to) = eight; }
static inline void store_eight(Eight eight, uint8_t* to) {
    *reinterpret_cast<Bytes*>(to) = __builtin_convertvector(eight, Bytes);
}

// A row, last voxel first.
template <class Stored>
static inline void reverse_row(const Stored* from, int length, Stored* to) {
    int x = 0;
    for (; x + TILE <= length; x += TILE) {  // forwards through memory, as the processor looks ahead
        const Eight eight = load_eight(from + x);
        store_eight(MIX(eight, eight, 7, 6, 5, 4, 3, 2, 1, 0), to + length - TILE - x);
    }
    for (; x < length; x++) to[length - 1 - x] = from[x];
}

// A row to where it belongs, past the cache where `aside`, but for what lies before and after whole vectors.
static inline void put_row(const float* from, int length, bool aside, float* to) {
    int x = 0;
#if defined(__x86_64__)
    if (aside) {
        const int before = (4 * LANES - ((uintptr_t)to & (4 * LANES - 1))) / 4 % LANES;
        for (; x < std::min(before, length); x++) to[x] = from[x];
        for (; x + LANES <= length; x += LANES) {
#if LANES == 16
            _mm512_stream_ps(to + x, _mm512_loadu_ps(from + x));
#elif LANES == 8
            _mm256_stream_ps(to + x, _mm256_loadu_ps(from + x));
#else
            _mm_stream_ps(to + x, _mm_loadu_ps(from + x));
#endif
        }
    }
#endif
    (void)aside;
    std::copy(from + x, from + length, to + x);
}

// 8x8 voxels, rows to columns.
template <class Stored>
__attribute__((noinline)) static void turn_tile(const Stored* from, size_t step, Stored* to, size_t to_step) {
    Eight a[TILE], b[TILE];
    const auto shuffle = [](const Eight(&in)[TILE], Eight(&out)[TILE]) {
        for (int i = 0; i < TILE / 2; i++) {
            out[2 * i] = MIX(in[i], in[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            out[2 * i + 1] = MIX(in[i], in[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
    };
    for (int i = 0; i < TILE; i++) a[i] = load_eight(from + i * step);
    shuffle(a, b), shuffle(b, a), shuffle(a, b);
    for (int i = 0; i < TILE; i++) store_eight(b[i], to + i * to_step);
}

// Columns [column, column + count) of a plane as rows.
template <class Stored>
static void turn_strip(const Sample& sample, const Stored* plane, int column, int count, Stored* strip) {
    const size_t step = sample.columns, to_step = sample.rows + PAD;
    const size_t part = (size_t)sample.rows * column;  // of the plane after this one: it is fetched meanwhile
    for (int row = 0; row < sample.rows; row += TILE) {
        for (int i = 0; i < TILE; i++)
            __builtin_prefetch(plane + (size_t)sample.rows * step + part + (size_t)(row + i) * STRIP, 0, 2);
        for (int c = 0; c < count; c += TILE) {
            const Stored* from = plane + row * step + column + c;
            Stored* to = strip + c * to_step + row;
            if (row + TILE <= sample.rows && c + TILE <= count) {
                turn_tile(from, step, to, to_step);
                continue;
            }
            for (int i = row; i < std::min(row + TILE, sample.rows); i++)
                for (int j = c; j < std::min(c + TILE, count); j++)
                    to[(j - c) * to_step + i - row] = from[(i - row) * step + j - c];
        }
    }
}

// Slice `s` of the output.
template <class Stored>
static void fill(const Sample& sample, Desk& desk, int s) {
    const int rows = sample.swapped ? sample.columns : sample.rows;
    const int columns = sample.swapped ? sample.rows : sample.columns;
    const size_t plane = (size_t)rows * columns;
    Stored* strip = reinterpret_cast<Stored*>(desk.strip.data());
    Stored* mirrored = reinterpret_cast<Stored*>(desk.mirrored.data());
    const int slice = sample.reversed[0] ? sample.slices - 1 - s : s;
    const Stored* from = static_cast<const Stored*>(sample.voxels) + slice * plane;
    for (int r = 0; r < rows; r++) {
        if (sample.swapped && r % STRIP == 0) turn_strip(sample, from, r, std::min(STRIP, rows - r), strip);
        const Stored* row =
            sample.swapped ? strip + (size_t)(r % STRIP) * (columns + PAD) : from + (size_t)r * columns;
        if (sample.reversed[2]) reverse_row(row, columns, mirrored);
        scale_row(sample, sample.reversed[2] ? mirrored : row, columns, desk.line.data());
        const int to = sample.reversed[1] ? rows - 1 - r : r;
        put_row(desk.line.data(), columns, sample.aside, sample.out + s * plane + (size_t)to * columns);
    }
#if defined(__x86_64__)
    if (sample.aside) _mm_sfence();
#endif
}
