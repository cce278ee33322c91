// Decode kernels. Every map is read once, as integers: the bit patterns of non-negative floats sort like the floats,
// a NaN or +inf sorts above every finite value, and a peak <= 0 is absent anyway. So one signed maximum finds the peak
// (and positive NaN), one unsigned maximum finds negative NaN, and float16 needs no conversion.

template <class T>
static inline T load_as(const unsigned char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

struct Float32Map {
    using Key = std::int32_t;
    using Bits = std::uint32_t;
    static constexpr Key kInf = 0x7f800000;
    static constexpr Bits kNegInf = 0xff800000u;
    static float value(Key key) {
        float out;
        std::memcpy(&out, &key, sizeof out);
        return out;
    }
};

struct Float16Map {
    using Key = std::int16_t;
    using Bits = std::uint16_t;
    static constexpr Key kInf = 0x7c00;
    static constexpr Bits kNegInf = 0xfc00;
    static float value(Key key) {
        const int exponent = (key >> 10) & 31, mantissa = key & 1023;
        const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                         : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
        return key < 0 ? -size : size;
    }
};

struct Uint8Map {
    using Key = std::uint8_t;
    using Bits = std::uint8_t;
    static constexpr int kInf = 256;  // no byte is NaN or inf
    static constexpr int kNegInf = 256;
    static float value(Key key) { return static_cast<float>(key) / 255.0f; }
};

constexpr int kRowBytes = 64;                      // one AVX-512 register, two AVX2, four SSE2 or NEON
constexpr int kChunkBytes = 8 * kRowBytes;         // reduced to one row
constexpr std::int64_t kBandChunks = 32;           // row maxima kept at once: 2 KB of stack

template <class Map>
struct BandRows {
    static constexpr int kLanesPerRow = kRowBytes / static_cast<int>(sizeof(typename Map::Key));
    alignas(64) typename Map::Key peak[kBandChunks][kLanesPerRow];
    alignas(64) typename Map::Bits highest_bits[kLanesPerRow];
};

// Lane-wise maxima of the eight rows of one chunk. The compiler turns the loop over lanes into vector code.
template <class Map>
static inline void reduce_chunk(const unsigned char* chunk, typename Map::Key* peak, typename Map::Bits* highest) {
    using Key = typename Map::Key;
    using Bits = typename Map::Bits;
    for (int i = 0; i < BandRows<Map>::kLanesPerRow; ++i) {
        Key top = load_as<Key>(chunk + i * sizeof(Key));
        Bits top_bits = static_cast<Bits>(top);
        for (int row = 1; row < 8; ++row) {
            const Key key = load_as<Key>(chunk + row * kRowBytes + i * sizeof(Key));
            top = key > top ? key : top;
            top_bits = static_cast<Bits>(key) > top_bits ? static_cast<Bits>(key) : top_bits;
        }
        peak[i] = top;
        highest[i] = top_bits > highest[i] ? top_bits : highest[i];
    }
}

template <class Key, int kCount>
static inline Key row_max(const Key* row) {
    Key top = row[0];
    for (int i = 1; i < kCount; ++i) top = row[i] > top ? row[i] : top;
    return top;
}

template <class Key, int kCount>
static inline bool row_has(const unsigned char* row, Key wanted) {
    bool found = false;
    for (int i = 0; i < kCount; ++i) found |= load_as<Key>(row + i * sizeof(Key)) == wanted;
    return found;
}

struct Peak {
    std::int64_t cell = -1;  // -1: none
    float score = 0;
};

// First cell of the chunk that holds `wanted`; the chunk is known to hold it.
template <class Map>
static inline int find_in_chunk(const unsigned char* chunk, typename Map::Key wanted) {
    using Key = typename Map::Key;
    constexpr int kCount = BandRows<Map>::kLanesPerRow;
    int row = 0;
    while (row < 7 && !row_has<Key, kCount>(chunk + row * kRowBytes, wanted)) ++row;
    int cell = 0;
    while (cell < kCount - 1 && load_as<Key>(chunk + row * kRowBytes + cell * sizeof(Key)) != wanted) ++cell;
    return row * kCount + cell;
}

// Highest key of up to kBandChunks chunks and its first cell. `bytes` >= one chunk; the last chunk overlaps the one
// before it when the length is no multiple, so nothing past the end is read. Returns false for NaN or +inf.
template <class Map>
static inline bool find_band_peak(const unsigned char* band, std::int64_t bytes, typename Map::Key* peak,
                                  std::int64_t* cell) {
    using Key = typename Map::Key;
    constexpr int kCount = BandRows<Map>::kLanesPerRow;
    BandRows<Map> rows;
    std::memset(rows.highest_bits, 0, sizeof rows.highest_bits);
    const std::int64_t chunks = (bytes + kChunkBytes - 1) / kChunkBytes;
    const std::int64_t last = bytes - kChunkBytes;
    for (std::int64_t c = 0; c < chunks; ++c) {
        reduce_chunk<Map>(band + std::min(c * kChunkBytes, last), rows.peak[c], rows.highest_bits);
    }
    alignas(64) Key top[kCount];
    std::memcpy(top, rows.peak[0], sizeof top);
    for (std::int64_t c = 1; c < chunks; ++c) {
        for (int i = 0; i < kCount; ++i) top[i] = rows.peak[c][i] > top[i] ? rows.peak[c][i] : top[i];
    }
    *peak = row_max<Key, kCount>(top);
    if (*peak >= Map::kInf || row_max<typename Map::Bits, kCount>(rows.highest_bits) > Map::kNegInf) return false;
    std::int64_t c = 0;
    while (c < chunks - 1 && !row_has<Key, kCount>(reinterpret_cast<unsigned char*>(rows.peak[c]), *peak)) ++c;
    const std::int64_t start = std::min(c * kChunkBytes, last);
    *cell = start / static_cast<std::int64_t>(sizeof(Key)) + find_in_chunk<Map>(band + start, *peak);
    return true;
}

template <class Map>
static inline Peak find_peak(const unsigned char* map, std::int64_t cells) {
    using Key = typename Map::Key;
    constexpr std::int64_t kBandBytes = kBandChunks * kChunkBytes;
    std::int64_t bytes = cells * static_cast<std::int64_t>(sizeof(Key));
    alignas(64) unsigned char small[kChunkBytes];
    if (bytes < kChunkBytes) {  // zeros fill it up: they are never the peak, which must be above zero
        std::memset(small, 0, sizeof small);
        std::memcpy(small, map, static_cast<std::size_t>(bytes));
        map = small;
        bytes = kChunkBytes;
    }
    Key best = 0;
    Peak found;
    for (std::int64_t start = 0; start < bytes; start += kBandBytes) {
        start = std::min(start, std::max<std::int64_t>(0, bytes - kChunkBytes));
        Key peak;
        std::int64_t cell;
        if (!find_band_peak<Map>(map + start, std::min(kBandBytes, bytes - start), &peak, &cell)) return Peak{};
        if (peak > best) {
            best = peak;
            found.cell = start / static_cast<std::int64_t>(sizeof(Key)) + cell;
        }
    }
    found.score = Map::value(best);
    return found;
}

// One map, its shape and the peak in it: what the sub-cell rules look at.
template <class Map>
struct PeakPatch {
    const unsigned char* map;
    std::int64_t height, width, row, column;
    double peak;
    double at(std::int64_t y, std::int64_t x) const {
        return Map::value(load_as<typename Map::Key>(map + (y * width + x) * sizeof(typename Map::Key)));
    }
};

// Mean of the 5x5 patch, each cell weighted by what it has above `floor` (>= 0). Offsets from the peak, in cells.
template <class Map>
static inline void mean_offset(const PeakPatch<Map>& patch, double floor, double* dx, double* dy) {
    const std::int64_t y0 = std::max<std::int64_t>(patch.row - 2, 0), y1 = std::min(patch.row + 2, patch.height - 1);
    const std::int64_t x0 = std::max<std::int64_t>(patch.column - 2, 0);
    const std::int64_t x1 = std::min(patch.column + 2, patch.width - 1);
    double sum = 0, sum_x = 0, sum_y = 0;
    for (std::int64_t y = y0; y <= y1; ++y) {
        for (std::int64_t x = x0; x <= x1; ++x) {
            const double weight = std::max(patch.at(y, x) - floor, 0.0);
            sum += weight;
            sum_x += weight * static_cast<double>(x - patch.column);
            sum_y += weight * static_cast<double>(y - patch.row);
        }
    }
    *dx = sum_x / sum;
    *dy = sum_y / sum;
}

// Vertex of the parabola through the logarithms of three neighbours, middle one highest. Within half a cell.
// Neighbours are held above a millionth of the peak, so that zeros have a logarithm.
static inline double parabola_offset(double left, double middle, double right) {
    const double lowest = 1e-6 * middle;
    const double a = std::log(std::max(left, lowest) / middle), b = std::log(std::max(right, lowest) / middle);
    const double bend = a + b;  // < 0 unless all three are equal
    return bend < 0 ? 0.5 * (a - b) / bend : 0.0;
}

template <class Map>
static inline void parabola_offsets(const PeakPatch<Map>& p, double* dx, double* dy) {
    const bool room_x = p.column > 0 && p.column < p.width - 1, room_y = p.row > 0 && p.row < p.height - 1;
    *dx = room_x ? parabola_offset(p.at(p.row, p.column - 1), p.peak, p.at(p.row, p.column + 1)) : 0;
    *dy = room_y ? parabola_offset(p.at(p.row - 1, p.column), p.peak, p.at(p.row + 1, p.column)) : 0;
}

template <class Map>
static inline void decode_map(const unsigned char* map, std::int64_t height, std::int64_t width,
                              const double* image_from_map, PeakMethod method, float* point) {
    const Peak peak = find_peak<Map>(map, height * width);
    if (peak.cell < 0) {
        point[0] = point[1] = std::numeric_limits<float>::quiet_NaN();
        point[2] = 0;
        return;
    }
    const PeakPatch<Map> patch{map, height, width, peak.cell / width, peak.cell % width, peak.score};
    double dx, dy;
    if (method == PeakMethod::log_parabola) {
        parabola_offsets(patch, &dx, &dy);
    } else {
        mean_offset(patch, method == PeakMethod::mean5x5_sub ? 0.2 * patch.peak : 0.0, &dx, &dy);
    }
    const double x = static_cast<double>(patch.column) + dx, y = static_cast<double>(patch.row) + dy;
    const double* m = image_from_map;
    point[0] = static_cast<float>(m[0] * x + m[1] * y + m[2]);
    point[1] = static_cast<float>(m[3] * x + m[4] * y + m[5]);
    point[2] = peak.score;
}

template <class Map>
static void decode_typed(const MapBatch& maps, const double* image_from_map, PeakMethod method, float* points) {
    for (std::int64_t b = 0; b < maps.batch; ++b) {
        for (std::int64_t k = 0; k < maps.maps; ++k) {
            decode_map<Map>(maps.data + b * maps.batch_stride + k * maps.map_stride, maps.height, maps.width,
                            image_from_map + 6 * b, method, points + 3 * (b * maps.maps + k));
        }
    }
}

static void decode(const MapBatch& maps, const double* image_from_map, PeakMethod method, float* points) {
    switch (maps.type) {
        case MapType::float32: return decode_typed<Float32Map>(maps, image_from_map, method, points);
        case MapType::float16: return decode_typed<Float16Map>(maps, image_from_map, method, points);
        case MapType::uint8: return decode_typed<Uint8Map>(maps, image_from_map, method, points);
    }
}

static std::uint64_t read_floor(const unsigned char* data, std::size_t bytes) {
    std::uint64_t sums[64] = {};
    const std::size_t whole = bytes / sizeof sums * sizeof sums;
    for (std::size_t i = 0; i < whole; i += sizeof sums) {
        for (std::size_t j = 0; j < 64; ++j) sums[j] += load_as<std::uint64_t>(data + i + 8 * j);
    }
    std::uint64_t sum = 0;
    for (std::uint64_t part : sums) sum += part;
    for (std::size_t i = whole; i < bytes; ++i) sum += data[i];
    return sum;
}
