// Vectors of LANES floats, for the instruction set that the including file has chosen.

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline Vec load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<Loose*>(p) = v; }
static inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
static inline Vec rectify(Vec v) { return larger(v, Vec{}); }
static inline double total(Vec v) {
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}
