// Row: one register of map cells as integers (keys), and the few operations the scan for the peak needs on it.
// The one place with intrinsics: written as loops, compilers load every row twice and take the maximum lane by lane.

#if RT_HANDS_LANES == 8

constexpr int kRowBytes = 64;
using Row = __m512i;

// The empty statement pins the row in its register: GCC would load it again for each use, and loads are the limit.
static inline Row load_row(const unsigned char* from) {
    Row row = _mm512_loadu_si512(from);
    __asm__("" : "+v"(row));
    return row;
}
static inline void store_row(void* to, Row row) { _mm512_storeu_si512(to, row); }
static inline Row splat_row(std::int32_t key) { return _mm512_set1_epi32(key); }
static inline Row splat_row(std::int16_t key) { return _mm512_set1_epi16(key); }
static inline Row splat_row(std::uint8_t key) { return _mm512_set1_epi8(static_cast<char>(key)); }
static inline Row larger(Row a, Row b, std::int32_t) { return _mm512_max_epi32(a, b); }
static inline Row larger(Row a, Row b, std::int16_t) { return _mm512_max_epi16(a, b); }
static inline Row larger(Row a, Row b, std::uint8_t) { return _mm512_max_epu8(a, b); }
static inline Row larger(Row a, Row b, std::uint32_t) { return _mm512_max_epu32(a, b); }
static inline Row larger(Row a, Row b, std::uint16_t) { return _mm512_max_epu16(a, b); }
static inline std::uint64_t match_row(Row a, Row b, std::int32_t) { return _mm512_cmpeq_epi32_mask(a, b); }
static inline std::uint64_t match_row(Row a, Row b, std::int16_t) { return _mm512_cmpeq_epi16_mask(a, b); }
static inline std::uint64_t match_row(Row a, Row b, std::uint8_t) { return _mm512_cmpeq_epi8_mask(a, b); }
static inline Row swap_halves(Row row) { return _mm512_shuffle_i64x2(row, row, 0x4e); }
static inline Row swap_quarters(Row row) { return _mm512_shuffle_i64x2(row, row, 0xb1); }
static inline Row swap_8_bytes(Row row) { return _mm512_shuffle_epi32(row, _MM_PERM_BADC); }
static inline Row swap_4_bytes(Row row) { return _mm512_shuffle_epi32(row, _MM_PERM_CDAB); }
static inline Row shift_2_bytes(Row row) { return _mm512_srli_epi32(row, 16); }
static inline Row shift_1_byte(Row row) { return _mm512_srli_epi16(row, 8); }
static inline std::int32_t low_word(Row row) { return _mm_cvtsi128_si32(_mm512_castsi512_si128(row)); }

// Lane by lane: `number` where `row` is above `top`, else what was there.
static inline Row newer(Row old, Row number, Row row, Row top, std::int32_t) {
    return _mm512_mask_mov_epi32(old, _mm512_cmpgt_epi32_mask(row, top), number);
}
static inline Row newer(Row old, Row number, Row row, Row top, std::int16_t) {
    return _mm512_mask_mov_epi16(old, _mm512_cmpgt_epi16_mask(row, top), number);
}
static inline Row newer(Row old, Row number, Row row, Row top, std::uint8_t) {
    return _mm512_mask_mov_epi8(old, _mm512_cmpgt_epu8_mask(row, top), number);
}

#elif RT_HANDS_LANES == 4

constexpr int kRowBytes = 32;
using Row = __m256i;

static inline Row load_row(const unsigned char* from) {
    Row row = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    __asm__("" : "+x"(row));  // loaded once, as above
    return row;
}
static inline void store_row(void* to, Row row) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), row); }
static inline Row splat_row(std::int32_t key) { return _mm256_set1_epi32(key); }
static inline Row splat_row(std::int16_t key) { return _mm256_set1_epi16(key); }
static inline Row splat_row(std::uint8_t key) { return _mm256_set1_epi8(static_cast<char>(key)); }
static inline Row larger(Row a, Row b, std::int32_t) { return _mm256_max_epi32(a, b); }
static inline Row larger(Row a, Row b, std::int16_t) { return _mm256_max_epi16(a, b); }
static inline Row larger(Row a, Row b, std::uint8_t) { return _mm256_max_epu8(a, b); }
static inline Row larger(Row a, Row b, std::uint32_t) { return _mm256_max_epu32(a, b); }
static inline Row larger(Row a, Row b, std::uint16_t) { return _mm256_max_epu16(a, b); }
static inline std::uint64_t match_row(Row a, Row b, std::int32_t) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))));
}
static inline std::uint64_t match_row(Row a, Row b, std::int16_t) {
    const Row equal = _mm256_cmpeq_epi16(a, b);  // two bytes a lane; packing leaves one, the permutation their order
    const Row bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(equal, _mm256_setzero_si256()), 0xd8);
    return static_cast<unsigned>(_mm256_movemask_epi8(bytes));
}
static inline std::uint64_t match_row(Row a, Row b, std::uint8_t) {
    return static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b)));
}
static inline Row swap_halves(Row row) { return row; }
static inline Row swap_quarters(Row row) { return _mm256_permute2x128_si256(row, row, 1); }
static inline Row swap_8_bytes(Row row) { return _mm256_shuffle_epi32(row, 0x4e); }
static inline Row swap_4_bytes(Row row) { return _mm256_shuffle_epi32(row, 0xb1); }
static inline Row shift_2_bytes(Row row) { return _mm256_srli_epi32(row, 16); }
static inline Row shift_1_byte(Row row) { return _mm256_srli_epi16(row, 8); }
static inline std::int32_t low_word(Row row) { return _mm_cvtsi128_si32(_mm256_castsi256_si128(row)); }

static inline Row newer(Row old, Row number, Row row, Row top, std::int32_t) {
    return _mm256_blendv_epi8(old, number, _mm256_cmpgt_epi32(row, top));
}
static inline Row newer(Row old, Row number, Row row, Row top, std::int16_t) {
    return _mm256_blendv_epi8(old, number, _mm256_cmpgt_epi16(row, top));
}
static inline Row newer(Row old, Row number, Row row, Row top, std::uint8_t) {
    return _mm256_blendv_epi8(number, old, _mm256_cmpeq_epi8(_mm256_max_epu8(row, top), top));
}

#else

#include "rows_portable.inl"

#endif

#if RT_HANDS_LANES > 2
// Highest lane. Halving the register keeps it in the register; the shifts at the end leave it in the lowest lane.
template <class Key>
static inline Key highest_lane(Row row, Key key) {
    row = larger(row, swap_halves(row), key);
    row = larger(row, swap_quarters(row), key);
    row = larger(row, swap_8_bytes(row), key);
    row = larger(row, swap_4_bytes(row), key);
    if (sizeof(Key) <= 2) row = larger(row, shift_2_bytes(row), key);
    if (sizeof(Key) == 1) row = larger(row, shift_1_byte(row), key);
    return static_cast<Key>(low_word(row));
}
#endif

// Index of the lowest bit set; `bits` is not 0.
static inline int lowest_bit(std::uint64_t bits) {
#ifdef __GNUC__
    return __builtin_ctzll(bits);
#else
    int index = 0;
    for (; !(bits & 1); bits >>= 1) ++index;
    return index;
#endif
}
