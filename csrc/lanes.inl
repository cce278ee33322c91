// Lanes: RT_HANDS_LANES float64 values worked on together; plain double where the compiler has no vector types.
// Only + - * / and comparisons are used on them, so the same kernel text serves every width.

constexpr int kLanes = RT_HANDS_LANES;

#if RT_HANDS_LANES > 1
typedef double Lanes __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef std::int64_t LaneMask __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef float FloatLanes __attribute__((vector_size(4 * RT_HANDS_LANES)));

static inline Lanes splat(double value) { return value - Lanes{}; }
// u0 v0 u1 v1 ...: the pairs of kLanes points.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define RT_HANDS_SHUFFLE 1
#endif
#endif
template <class Vector, class T>
static inline void store_interleaved(T* to, Vector u, Vector v) {
#ifdef RT_HANDS_SHUFFLE
#if RT_HANDS_LANES == 8
    const Vector low = __builtin_shufflevector(u, v, 0, 8, 1, 9, 2, 10, 3, 11);
    const Vector high = __builtin_shufflevector(u, v, 4, 12, 5, 13, 6, 14, 7, 15);
#elif RT_HANDS_LANES == 4
    const Vector low = __builtin_shufflevector(u, v, 0, 4, 1, 5);
    const Vector high = __builtin_shufflevector(u, v, 2, 6, 3, 7);
#else
    const Vector low = __builtin_shufflevector(u, v, 0, 2);
    const Vector high = __builtin_shufflevector(u, v, 1, 3);
#endif
    std::memcpy(to, &low, sizeof low);
    std::memcpy(to + kLanes, &high, sizeof high);
#else
    for (int i = 0; i < kLanes; ++i) to[2 * i] = u[i], to[2 * i + 1] = v[i];
#endif
}
static inline void store_pairs(double* to, Lanes u, Lanes v) { store_interleaved(to, u, v); }
static inline void store_pairs(float* to, Lanes u, Lanes v) {
    store_interleaved(to, __builtin_convertvector(u, FloatLanes), __builtin_convertvector(v, FloatLanes));
}
// 1 where the mask holds, else 0: kLanes bytes.
static inline void store_mask(std::uint8_t* to, LaneMask mask) {
    typedef std::int8_t ByteLanes __attribute__((vector_size(RT_HANDS_LANES)));
    const ByteLanes bytes = __builtin_convertvector(mask, ByteLanes) & 1;
    std::memcpy(to, &bytes, sizeof bytes);
}
static inline bool any(LaneMask mask) {
    std::int64_t bits = 0;
    for (int i = 0; i < kLanes; ++i) bits |= mask[i];
    return bits != 0;
}
static inline double lane(const Lanes& value, int i) { return value[i]; }
static inline void set_lane(Lanes* value, int i, double to) { (*value)[i] = to; }
#else
typedef double Lanes;
typedef bool LaneMask;

static inline Lanes splat(double value) { return value; }
template <class T>
static inline void store_pairs(T* to, Lanes u, Lanes v) {
    to[0] = static_cast<T>(u);
    to[1] = static_cast<T>(v);
}
static inline void store_mask(std::uint8_t* to, LaneMask mask) { *to = mask; }
static inline bool any(LaneMask mask) { return mask; }
static inline double lane(const Lanes& value, int) { return value; }
static inline void set_lane(Lanes* value, int, double to) { *value = to; }
#endif

static inline Lanes select(LaneMask mask, Lanes yes, Lanes no) { return mask ? yes : no; }

static inline Lanes load_lanes(const double* from) {
    Lanes value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
