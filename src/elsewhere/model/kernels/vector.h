// Vectors of LANES floats, for the instruction set that the including file has chosen; HALF: products in bfloat16.

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

// Six neighbours to their values at the Winograd points 0, near, -near, far, -far and infinity, in place.
static inline void to_six_points(float near, float far, Vec& a, Vec& b, Vec& c, Vec& d, Vec& e, Vec& f) {
    const Vec inner = e - far * far * c, inner_odd = near * (d - far * far * b);
    const Vec outer = e - near * near * c, outer_odd = far * (d - near * near * b);
    const float square = near * near * far * far, sum = near * near + far * far;
    const Vec zero = square * a - sum * c + e, infinite = square * b - sum * d + f;
    a = zero, b = inner + inner_odd, c = inner - inner_odd, d = outer + outer_odd, e = outer - outer_odd, f = infinite;
}

// Two channels as one: bfloat16, rounded to nearest even, the first in the lower half of each lane.
static inline float half_pair(float first, float second) {
    uint32_t bits[2];
    std::memcpy(bits, &first, 4);
    std::memcpy(bits + 1, &second, 4);
    for (auto& one : bits) one += 0x7fff + (one >> 16 & 1);
    const uint32_t both = bits[0] >> 16 | (bits[1] & 0xffff0000u);
    float result;
    std::memcpy(&result, &both, 4);
    return result;
}

#if HALF
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
static inline Vec half_pairs(Vec first, Vec second) {
    Bits a = (Bits)first, b = (Bits)second;
    a += 0x7fff + (a >> 16 & 1);
    b += 0x7fff + (b >> 16 & 1);
    return (Vec)(a >> 16 | (b & 0xffff0000u));
}
#else
static inline Vec half_pairs(Vec first, Vec) { return first; }
#endif

// sum + weight * in; of STEP 2 channels, both as bfloat16 pairs, summed in float32.
template <int STEP>
static inline Vec add_product(Vec sum, float weight, Vec in) {
#if HALF
    if (STEP == 2) {
        uint32_t bits;
        std::memcpy(&bits, &weight, 4);
        return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(Bits{} + bits), (__m512bh)in);
    }
#endif
    return sum + weight * in;
}
