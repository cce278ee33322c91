// Lanes: RT_HANDS_LANES float64 values worked on together; plain double where the compiler has no vector types.
// Only + - * / and comparisons are used on them, so the same kernel text serves every width.

constexpr int kLanes = RT_HANDS_LANES;

#if RT_HANDS_LANES > 1
typedef double Lanes __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef std::int64_t LaneMask __attribute__((vector_size(8 * RT_HANDS_LANES)));
typedef float FloatLanes __attribute__((vector_size(4 * RT_HANDS_LANES)));

static inline Lanes splat(double value) { return value - Lanes{}; }
static inline void store_lanes(float* to, Lanes value) {
    const FloatLanes rounded = __builtin_convertvector(value, FloatLanes);
    std::memcpy(to, &rounded, sizeof rounded);
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
static inline void store_lanes(float* to, Lanes value) { *to = static_cast<float>(value); }
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

static inline void store_lanes(double* to, Lanes value) { std::memcpy(to, &value, sizeof value); }
