// Lanes: RT_HANDS_LANES float64 values worked on together; plain double where the compiler has no vector types.
// Floats: the float32 values that fill the same register, twice as many.
// Only + - * / and comparisons are used on them, so the same kernel text serves every width.

constexpr int kLanes = RT_HANDS_LANES;

#if RT_HANDS_LANES > 1
typedef double Lanes __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef std::int64_t LaneMask __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef float FloatLanes __attribute__((vector_size(4 * RT_HANDS_LANES)));  // Lanes, rounded
constexpr int kFloats = 2 * RT_HANDS_LANES;
typedef float Floats __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef std::int32_t FloatMask __attribute__((vector_size(8 * RT_HANDS_LANES)));

static inline Lanes splat(double value) { return value - Lanes{}; }
// u0 v0 u1 v1 ...: the pairs of kLanes points.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define RT_HANDS_SHUFFLE 1
#endif
#endif
template <int width, class Vector, class T, int... i>
static inline void store_interleaved(T* to, Vector u, Vector v, std::integer_sequence<int, i...>) {
#ifdef RT_HANDS_SHUFFLE
    const Vector low = __builtin_shufflevector(u, v, (i / 2 + i % 2 * width)...);
    const Vector high = __builtin_shufflevector(u, v, (width / 2 + i / 2 + i % 2 * width)...);
    std::memcpy(to, &low, sizeof low);
    std::memcpy(to + width, &high, sizeof high);
#else
    for (int j = 0; j < width; ++j) to[2 * j] = u[j], to[2 * j + 1] = v[j];
#endif
}
template <int width, class Vector, class T>
static inline void store_interleaved(T* to, Vector u, Vector v) {
    store_interleaved<width>(to, u, v, std::make_integer_sequence<int, width>());
}
static inline FloatLanes rounded(Lanes value) { return __builtin_convertvector(value, FloatLanes); }
static inline Lanes widened(FloatLanes value) { return __builtin_convertvector(value, Lanes); }
static inline void store_pairs(double* to, Lanes u, Lanes v) { store_interleaved<kLanes>(to, u, v); }
static inline void store_pairs(float* to, Lanes u, Lanes v) { store_interleaved<kLanes>(to, rounded(u), rounded(v)); }
static inline void store_pairs(float* to, Floats u, Floats v) { store_interleaved<kFloats>(to, u, v); }
// 1 where the mask holds, else 0: kLanes bytes.
static inline void store_mask(std::uint8_t* to, LaneMask mask) {
    typedef std::int8_t ByteLanes __attribute__((vector_size(RT_HANDS_LANES)));
    const ByteLanes bytes = __builtin_convertvector(mask, ByteLanes) & 1;
    std::memcpy(to, &bytes, sizeof bytes);
}
static inline void store_float_mask(std::uint8_t* to, FloatMask mask) {
    typedef std::int8_t ByteFloats __attribute__((vector_size(kFloats)));
    const ByteFloats bytes = __builtin_convertvector(mask, ByteFloats) & 1;
    std::memcpy(to, &bytes, sizeof bytes);
}
static inline bool any(LaneMask mask) {
    std::uint8_t bytes[8] = {};
    store_mask(bytes, mask);
    std::uint64_t bits;
    std::memcpy(&bits, bytes, sizeof bits);
    return bits != 0;
}
static inline double lane(const Lanes& value, int i) { return value[i]; }
static inline float lane(const FloatLanes& value, int i) { return value[i]; }
static inline bool lane(const LaneMask& value, int i) { return value[i] != 0; }
static inline void set_lane(Lanes* value, int i, double to) { (*value)[i] = to; }
#else
typedef double Lanes;
typedef bool LaneMask;
typedef float FloatLanes;
constexpr int kFloats = 1;
typedef float Floats;
typedef bool FloatMask;

static inline Lanes splat(double value) { return value; }
static inline FloatLanes rounded(Lanes value) { return static_cast<float>(value); }
static inline Lanes widened(FloatLanes value) { return value; }
template <class T, class Number>
static inline void store_pairs(T* to, Number u, Number v) {
    to[0] = static_cast<T>(u);
    to[1] = static_cast<T>(v);
}
static inline void store_mask(std::uint8_t* to, LaneMask mask) { *to = mask; }
static inline void store_float_mask(std::uint8_t* to, FloatMask mask) { *to = mask; }
static inline bool any(LaneMask mask) { return mask; }
template <class T>
static inline T lane(const T& value, int) {
    return value;
}
static inline void set_lane(Lanes* value, int, double to) { *value = to; }
#endif

static inline Lanes select(LaneMask mask, Lanes yes, Lanes no) { return mask ? yes : no; }

template <class Vector, class T>
static inline Vector load(const T* from) {
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
static inline Lanes load_lanes(const double* from) { return load<Lanes>(from); }
static inline Floats load_floats(const float* from) { return load<Floats>(from); }

static inline void store_floats(float* to, Lanes value) {
    const FloatLanes narrow = rounded(value);
    std::memcpy(to, &narrow, sizeof narrow);
}

static inline Lanes root(Lanes value) {
    for (int i = 0; i < kLanes; ++i) set_lane(&value, i, std::sqrt(lane(value, i)));
    return value;
}
static inline Lanes absolute(Lanes value) { return select(value < 0.0, -value, value); }
static inline Lanes larger(Lanes a, Lanes b) { return select(a > b, a, b); }
