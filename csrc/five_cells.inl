// FiveCells: one row of the 5x5 patch as float32, in a register where there is one wide enough.

#if RT_HANDS_LANES > 2

using FiveCells = __m256;  // lanes 5 to 7 are 0

static inline FiveCells load_five(const unsigned char* from) {
    const __m256i five = _mm256_setr_epi32(-1, -1, -1, -1, -1, 0, 0, 0);
    return _mm256_maskload_ps(reinterpret_cast<const float*>(from), five);
}
static inline FiveCells five_cells(float a, float b, float c, float d, float e) {
    return _mm256_setr_ps(a, b, c, d, e, 0, 0, 0);
}
static inline FiveCells above(FiveCells cells, float floor) {  // floor >= 0 keeps the empty lanes at 0
    return _mm256_max_ps(_mm256_sub_ps(cells, _mm256_set1_ps(floor)), _mm256_setzero_ps());
}
static inline FiveCells add(FiveCells a, FiveCells b) { return _mm256_add_ps(a, b); }
static inline FiveCells subtract(FiveCells a, FiveCells b) { return _mm256_sub_ps(a, b); }
static inline float sum_five(FiveCells cells) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(cells), _mm256_extractf128_ps(cells, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
// Sum of the cells times -2, -1, 0, 1, 2.
static inline float lever_five(FiveCells cells) {
    return sum_five(_mm256_mul_ps(cells, _mm256_setr_ps(-2, -1, 0, 1, 2, 0, 0, 0)));
}

#else

struct FiveCells {
    float at[5];
};

static inline FiveCells load_five(const unsigned char* from) {
    FiveCells cells;
    std::memcpy(cells.at, from, sizeof cells.at);
    return cells;
}
static inline FiveCells five_cells(float a, float b, float c, float d, float e) { return {{a, b, c, d, e}}; }
static inline FiveCells above(FiveCells cells, float floor) {
    for (float& cell : cells.at) cell = cell > floor ? cell - floor : 0.0f;
    return cells;
}
static inline FiveCells add(FiveCells a, const FiveCells& b) {
    for (int i = 0; i < 5; ++i) a.at[i] += b.at[i];
    return a;
}
static inline FiveCells subtract(FiveCells a, const FiveCells& b) {
    for (int i = 0; i < 5; ++i) a.at[i] -= b.at[i];
    return a;
}
static inline float sum_five(const FiveCells& c) { return c.at[0] + c.at[1] + c.at[2] + c.at[3] + c.at[4]; }
static inline float lever_five(const FiveCells& c) { return 2 * (c.at[4] - c.at[0]) + (c.at[3] - c.at[1]); }

#endif

template <class Map>
static inline FiveCells converted_five(const unsigned char* from) {
    using Key = typename Map::Key;
    const auto value = [&](int i) { return Map::value(load_as<Key>(from + i * sizeof(Key))); };
    return five_cells(value(0), value(1), value(2), value(3), value(4));
}
