// Decode kernels. Every map is read once, as integers: the bit patterns of non-negative floats sort like the floats,
// a NaN or +inf sorts above every finite value, and a peak <= 0 is absent anyway. So one signed maximum finds the peak
// (and positive NaN), one unsigned maximum finds negative NaN, and float16 needs no conversion.

template <class T>
static inline T load_as(const unsigned char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

#include "rows.inl"
#include "five_cells.inl"

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
    static FiveCells five(const unsigned char* from) { return load_five(from); }
};

struct Float16Map {
    using Key = std::int16_t;
    using Bits = std::uint16_t;
    static constexpr Key kInf = 0x7c00;
    static constexpr Bits kNegInf = 0xfc00;
    static float value(Key key) {
        // Shifted into a float32's place the number is 2^112 too small, denormals and all.
        const std::uint32_t bits = static_cast<std::uint32_t>(key & 0x7fff) << 13;
        float size;
        std::memcpy(&size, &bits, sizeof size);
        return (key < 0 ? -size : size) * 5.192296858534828e33f;
    }
    static FiveCells five(const unsigned char* from) { return converted_five<Float16Map>(from); }
};

struct Uint8Map {
    using Key = std::uint8_t;
    using Bits = std::uint8_t;
    static constexpr int kInf = 256;  // no byte is NaN or inf
    static constexpr int kNegInf = 256;
    static float value(Key key) { return static_cast<float>(key) / 255.0f; }
    static FiveCells five(const unsigned char* from) { return converted_five<Uint8Map>(from); }
};

constexpr int kChunkBytes = 8 * kRowBytes;
constexpr std::int64_t kBandChunks = 64;  // numbers of chunks, which overlap, fit every Key
constexpr std::int64_t kBandBytes = (kBandChunks - 2) * kChunkBytes;

// Lane-wise state of a scan: highest key so far, number of the first chunk that held it, highest bit pattern.
struct Scan {
    Row top, top_chunk, highest;
};

// Takes the eight rows of one chunk in, in a tree: a chain of maxima would wait for itself.
template <class Map>
static inline void scan_chunk(const unsigned char* chunk, std::int64_t number, Scan* s) {
    const typename Map::Key key = 0;
    const typename Map::Bits bits = 0;
    Row top[4], highest[4];
    for (int i = 0; i < 4; ++i) {
        const Row a = load_row(chunk + 2 * i * kRowBytes), b = load_row(chunk + (2 * i + 1) * kRowBytes);
        top[i] = larger(a, b, key);
        highest[i] = larger(a, b, bits);
    }
    const Row row = larger(larger(top[0], top[1], key), larger(top[2], top[3], key), key);
    const Row high = larger(larger(highest[0], highest[1], bits), larger(highest[2], highest[3], bits), bits);
    s->top_chunk = newer(s->top_chunk, splat_row(static_cast<typename Map::Key>(number)), row, s->top, key);
    s->top = larger(s->top, row, key);
    s->highest = larger(s->highest, high, bits);
}

// Whether a lane holds a bit pattern above that of -inf: a NaN with its sign set.
template <class Map>
static inline bool has_negative_nan(const Row& highest) {
    if (Map::kNegInf > std::numeric_limits<typename Map::Bits>::max()) return false;
    using Key = typename Map::Key;
    const Row limit = splat_row(static_cast<Key>(Map::kNegInf));
    const std::uint64_t within = match_row(larger(highest, limit, typename Map::Bits{}), limit, Key{});
    return within != ~std::uint64_t{0} >> (64 - kRowBytes / sizeof(Key));
}

struct Peak {
    std::int64_t cell = -1;  // -1: none
    float score = 0;
};

// First cell of the chunk that holds `wanted`; the chunk is known to hold it. All eight rows are looked at: a wrongly
// guessed early exit costs more.
template <class Key>
static inline int find_in_chunk(const unsigned char* chunk, Key wanted) {
    constexpr int kCount = kRowBytes / static_cast<int>(sizeof(Key)), kRowsPerWord = std::min(8, 64 / kCount);
    constexpr int kWords = 8 / kRowsPerWord;
    const Row key = splat_row(wanted);
    std::uint64_t words[kWords] = {};
    for (int row = 0; row < 8; ++row) {
        const std::uint64_t bits = match_row(load_row(chunk + row * kRowBytes), key, wanted);
        words[row / kRowsPerWord] |= bits << (row % kRowsPerWord * kCount);
    }
    int first = kWords - 1;
    for (int w = kWords - 2; w >= 0; --w) first = words[w] != 0 ? w : first;
    return first * kRowsPerWord * kCount + lowest_bit(words[first]);
}

// Number of the first chunk whose maximum is `peak`: of the lanes that saw it, the earliest.
template <class Key>
static inline std::int64_t first_chunk(const Scan& s, Key peak) {
    Key numbers[kRowBytes / sizeof(Key)];
    store_row(numbers, s.top_chunk);
    std::int64_t chunk = kBandChunks;
    for (std::uint64_t holders = match_row(s.top, splat_row(peak), peak); holders; holders &= holders - 1) {
        chunk = std::min<std::int64_t>(chunk, numbers[lowest_bit(holders)]);
    }
    return chunk;
}

// Where the chunks of a band lie: the first at its start, the next from the first whole row in memory on, the last
// flush with the end. They overlap rather than read past the end or across cache lines, which halves the speed.
struct ChunkPlan {
    std::int64_t aligned, last, count;
    ChunkPlan(const unsigned char* band, std::int64_t bytes, int key_bytes) {
        const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(band) % kRowBytes);
        aligned = past != 0 && past % key_bytes == 0 ? kRowBytes - past : kChunkBytes;
        last = bytes - kChunkBytes;
        count = 1 + (std::max<std::int64_t>(bytes - aligned, 0) + kChunkBytes - 1) / kChunkBytes;
    }
    std::int64_t start(std::int64_t chunk) const {
        return chunk == 0 ? 0 : std::min(aligned + (chunk - 1) * kChunkBytes, last);
    }
};

// Highest key of a band (kChunkBytes <= bytes <= kBandBytes) and its first cell. Returns false for NaN or +inf.
template <class Map>
static inline bool find_band_peak(const unsigned char* band, std::int64_t bytes, typename Map::Key* peak,
                                  std::int64_t* cell) {
    using Key = typename Map::Key;
    const Row zero = splat_row(Key{0});  // a peak must be above it
    Scan s = {zero, zero, zero};
    const ChunkPlan plan(band, bytes, sizeof(Key));
    scan_chunk<Map>(band, 0, &s);
    for (std::int64_t c = 1; c < plan.count - 1; ++c) {
        scan_chunk<Map>(band + plan.aligned + (c - 1) * kChunkBytes, c, &s);
    }
    if (plan.count > 1) scan_chunk<Map>(band + plan.last, plan.count - 1, &s);
    *peak = highest_lane(s.top, Key{});
    if (*peak >= Map::kInf || has_negative_nan<Map>(s.highest)) return false;
    if (*peak == 0) return true;
    const std::int64_t start = plan.start(first_chunk(s, *peak));
    *cell = start / static_cast<std::int64_t>(sizeof(Key)) + find_in_chunk(band + start, *peak);
    return true;
}

template <class Map>
static inline Peak find_peak(const unsigned char* map, std::int64_t cells) {
    using Key = typename Map::Key;
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
        Key peak = 0;
        std::int64_t cell = 0;
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

struct PatchSums {
    double weight, x, y;
};

// Weighted sums over the part of the 5x5 patch that lies in the map.
template <class Map>
static PatchSums sum_clipped_patch(const PeakPatch<Map>& patch, double floor) {
    const std::int64_t y0 = std::max<std::int64_t>(patch.row - 2, 0), y1 = std::min(patch.row + 2, patch.height - 1);
    const std::int64_t x0 = std::max<std::int64_t>(patch.column - 2, 0);
    const std::int64_t x1 = std::min(patch.column + 2, patch.width - 1);
    PatchSums sums = {0, 0, 0};
    for (std::int64_t y = y0; y <= y1; ++y) {
        for (std::int64_t x = x0; x <= x1; ++x) {
            const double weight = std::max(patch.at(y, x) - floor, 0.0);
            sums.weight += weight;
            sums.x += weight * static_cast<double>(x - patch.column);
            sums.y += weight * static_cast<double>(y - patch.row);
        }
    }
    return sums;
}

// The same over a whole patch, in float32 and five cells at a time.
template <class Map>
static inline PatchSums sum_whole_patch(const PeakPatch<Map>& patch, float floor) {
    const auto row_bytes = static_cast<std::ptrdiff_t>(patch.width * sizeof(typename Map::Key));
    const unsigned char* corner = patch.map + (patch.row - 2) * row_bytes +
                                  (patch.column - 2) * static_cast<std::ptrdiff_t>(sizeof(typename Map::Key));
    FiveCells rows[5];
    for (int y = 0; y < 5; ++y) rows[y] = above(Map::five(corner + y * row_bytes), floor);
    const FiveCells inner = add(rows[1], rows[3]), outer = add(rows[0], rows[4]);
    const FiveCells columns = add(add(inner, outer), rows[2]), fall = subtract(rows[4], rows[0]);
    const FiveCells down = add(add(fall, fall), subtract(rows[3], rows[1]));
    return {sum_five(columns), lever_five(columns), sum_five(down)};
}

// Mean of the 5x5 patch, each cell weighted by what it has above `floor` (>= 0). Offsets from the peak, in cells.
template <class Map>
static inline void mean_offset(const PeakPatch<Map>& patch, double floor, double* dx, double* dy) {
    const bool whole = patch.row >= 2 && patch.row < patch.height - 2 && patch.column >= 2 &&
                       patch.column < patch.width - 2;
    const bool fits_float32 = patch.peak > 1e-30 && patch.peak < 1e30;  // sums of 25 neither overflow nor vanish
    const PatchSums sums = whole && fits_float32 ? sum_whole_patch(patch, static_cast<float>(floor))
                                                 : sum_clipped_patch(patch, floor);
    *dx = sums.x / sums.weight;
    *dy = sums.y / sums.weight;
}

constexpr std::int64_t kReach = 4, kWide = 2 * kReach + 1;

// The 9x9 patch's part in the map. Shares of the peak, whose squares neither overflow nor vanish.
template <class Map>
static PatchSums sum_clipped_squares(const PeakPatch<Map>& p) {
    PatchSums sums = {0, 0, 0};
    for (std::int64_t y = -std::min(kReach, p.row); y <= std::min(kReach, p.height - 1 - p.row); ++y) {
        for (std::int64_t x = -std::min(kReach, p.column); x <= std::min(kReach, p.width - 1 - p.column); ++x) {
            const double share = std::max(p.at(p.row + y, p.column + x), 0.0) / p.peak, weight = share * share;
            sums.weight += weight;
            sums.x += weight * static_cast<double>(x);
            sums.y += weight * static_cast<double>(y);
        }
    }
    return sums;
}

// The same over a whole patch, in float32: loops of one length become vectors.
template <class Map>
static PatchSums sum_whole_squares(const PeakPatch<Map>& p) {
    const auto scale = static_cast<float>(1 / p.peak);
    float columns[kWide] = {}, down[kWide] = {};
    for (std::int64_t y = 0; y < kWide; ++y) {
        const unsigned char* row =
            p.map + ((p.row - kReach + y) * p.width + p.column - kReach) * static_cast<std::int64_t>(sizeof(typename Map::Key));
        const auto lever = static_cast<float>(y - kReach);
        for (std::int64_t x = 0; x < kWide; ++x) {
            const float share = Map::value(load_as<typename Map::Key>(row + x * sizeof(typename Map::Key))) * scale;
            const float positive = share > 0 ? share : 0.0f, weight = positive * positive;
            columns[x] += weight;
            down[x] += lever * weight;
        }
    }
    PatchSums sums = {0, 0, 0};
    for (std::int64_t x = 0; x < kWide; ++x) {
        sums.weight += columns[x];
        sums.x += columns[x] * static_cast<double>(x - kReach);
        sums.y += down[x];
    }
    return sums;
}

// Mean of the 9x9 patch weighted by squares. Offsets from the peak, in cells.
template <class Map>
static inline void squares_offset(const PeakPatch<Map>& p, double* dx, double* dy) {
    const bool whole = p.row >= kReach && p.row < p.height - kReach && p.column >= kReach && p.column < p.width - kReach;
    const PatchSums sums = whole && p.peak > 1e-30 ? sum_whole_squares(p) : sum_clipped_squares(p);
    *dx = sums.x / sums.weight;
    *dy = sums.y / sums.weight;
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
static inline void refine_peak(const unsigned char* map, const Peak& peak, std::int64_t height, std::int64_t width,
                               const double* image_from_map, PeakMethod method, float* point) {
    if (peak.cell < 0) {
        point[0] = point[1] = std::numeric_limits<float>::quiet_NaN();
        point[2] = 0;
        return;
    }
    const PeakPatch<Map> patch{map, height, width, peak.cell / width, peak.cell % width, peak.score};
    double dx, dy;
    if (method == PeakMethod::log_parabola) {
        parabola_offsets(patch, &dx, &dy);
    } else if (method == PeakMethod::squares9x9) {
        squares_offset(patch, &dx, &dy);
    } else {
        mean_offset(patch, method == PeakMethod::mean5x5_sub ? 0.2 * patch.peak : 0.0, &dx, &dy);
    }
    const double x = static_cast<double>(patch.column) + dx, y = static_cast<double>(patch.row) + dy;
    const double* m = image_from_map;
    point[0] = static_cast<float>(m[0] * x + m[1] * y + m[2]);
    point[1] = static_cast<float>(m[3] * x + m[4] * y + m[5]);
    point[2] = peak.score;
}

constexpr std::int64_t kMapsAtOnce = 4;  // 32 KB of 45x45 float32: the patches are still in the first cache

// Peaks of a few maps first, then their patches: the short refinements of different maps overlap in the processor,
// which a long scan between them would prevent.
template <class Map>
static void decode_typed(const MapBatch& maps, const double* image_from_map, PeakMethod method, float* points) {
    Peak peaks[kMapsAtOnce];
    for (std::int64_t b = 0; b < maps.batch; ++b) {
        const unsigned char* first = maps.data + b * maps.batch_stride;
        float* out = points + 3 * b * maps.maps;
        for (std::int64_t start = 0; start < maps.maps; start += kMapsAtOnce) {
            const std::int64_t stop = std::min(start + kMapsAtOnce, maps.maps);
            for (std::int64_t k = start; k < stop; ++k) {
                peaks[k - start] = find_peak<Map>(first + k * maps.map_stride, maps.height * maps.width);
            }
            for (std::int64_t k = start; k < stop; ++k) {
                refine_peak<Map>(first + k * maps.map_stride, peaks[k - start], maps.height, maps.width,
                                 image_from_map + 6 * b, method, out + 3 * k);
            }
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
