// Kernels of crop_rgb. Plain loops over short arrays, which compilers turn into vector code at every level.

constexpr int kChunk = 64;  // input pixels worked on together

// What the sampling of a chunk needs to know: where each pixel reads, and with which weights.
struct CropChunk {
    alignas(64) float across[kChunk], down[kChunk], keep[kChunk];
    alignas(64) std::int32_t at[kChunk];
    alignas(64) std::uint32_t upper_left[kChunk], upper_right[kChunk], lower_left[kChunk], lower_right[kChunk];
};

// Places of kChunk pixels from (x, y) on, the step from one to the next being (dx, dy). NaN counts as outside.
static inline void place_chunk(const CropGrid& grid, float x, float y, float dx, float dy, CropChunk* chunk) {
    const float right = grid.right, bottom = grid.bottom, weight = 1.0f / (255.0f * static_cast<float>(grid.taps));
    const auto last_x = static_cast<float>(grid.width - 1), last_y = static_cast<float>(grid.height - 1);
    const std::int32_t most_x = grid.width - 2, most_y = grid.height > 1 ? grid.height - 2 : 0;
    const auto row_bytes = static_cast<std::int32_t>(grid.row_bytes);
    for (int i = 0; i < kChunk; ++i) {
        const float px = x + dx * static_cast<float>(i), py = y + dy * static_cast<float>(i);
        const bool inside = (px >= grid.left) & (px < right) & (py >= grid.top) & (py < bottom);
        chunk->keep[i] = inside ? weight : 0.0f;
        const float not_left = px > 0.0f ? px : 0.0f, not_above = py > 0.0f ? py : 0.0f;
        const float cx = not_left < last_x ? not_left : last_x, cy = not_above < last_y ? not_above : last_y;
        const auto floor_x = static_cast<std::int32_t>(cx), floor_y = static_cast<std::int32_t>(cy);
        const std::int32_t ix = floor_x < most_x ? floor_x : most_x, iy = floor_y < most_y ? floor_y : most_y;
        chunk->across[i] = cx - static_cast<float>(ix);
        chunk->down[i] = cy - static_cast<float>(iy);
        chunk->at[i] = iy * row_bytes + 3 * ix;
    }
}

// The four neighbours of each pixel as words whose low bytes are B, G, R. Two neighbours come in one load of 8 bytes, 2
// more than they have, except at the very end of the picture.
static inline void gather_chunk(const CropGrid& grid, CropChunk* chunk) {
    const std::ptrdiff_t below = grid.height > 1 ? grid.row_bytes : 0, lowest = below > 0 ? below : 0;
    std::int32_t last = chunk->at[0];
    for (int i = 0; i < kChunk; ++i) last = chunk->at[i] > last ? chunk->at[i] : last;
    if (last + lowest + 8 > grid.end) {
        for (int i = 0; i < kChunk; ++i) {
            const std::uint8_t *upper = grid.bgr + chunk->at[i], *lower = upper + below;
            chunk->upper_left[i] = load<std::uint32_t>(upper), chunk->upper_right[i] = load<std::uint32_t>(upper + 2) >> 8;
            chunk->lower_left[i] = load<std::uint32_t>(lower), chunk->lower_right[i] = load<std::uint32_t>(lower + 2) >> 8;
        }
        return;
    }
    alignas(64) std::uint64_t upper[kChunk], lower[kChunk];
    for (int i = 0; i < kChunk; ++i) {
        const std::uint8_t* from = grid.bgr + chunk->at[i];
        upper[i] = load<std::uint64_t>(from);
        lower[i] = load<std::uint64_t>(from + below);
    }
    for (int i = 0; i < kChunk; ++i) {
        chunk->upper_left[i] = static_cast<std::uint32_t>(upper[i]);
        chunk->upper_right[i] = static_cast<std::uint32_t>(upper[i] >> 24);
        chunk->lower_left[i] = static_cast<std::uint32_t>(lower[i]);
        chunk->lower_right[i] = static_cast<std::uint32_t>(lower[i] >> 24);
    }
}

static inline float channel_of(std::uint32_t word, int shift) {
    return static_cast<float>(static_cast<std::int32_t>((word >> shift) & 255u));
}

static inline void blend_chunk(const CropChunk& chunk, int shift, float* sum) {
    for (int i = 0; i < kChunk; ++i) {
        const float a = channel_of(chunk.upper_left[i], shift), b = channel_of(chunk.upper_right[i], shift);
        const float c = channel_of(chunk.lower_left[i], shift), d = channel_of(chunk.lower_right[i], shift);
        const float upper = a + chunk.across[i] * (b - a), lower = c + chunk.across[i] * (d - c);
        sum[i] += (upper + chunk.down[i] * (lower - upper)) * chunk.keep[i];
    }
}

// Sum over the taps of kChunk input pixels from (u, v) on: blue, green, red.
static inline void sum_taps(const CropGrid& grid, double u, double v, float (*sums)[kChunk]) {
    const double* m = grid.grid_from_input;
    CropChunk chunk;
    std::memset(sums, 0, 3 * sizeof *sums);
    for (int tap = 0; tap < grid.taps; ++tap) {
        // Four taps: the middles of a pixel's quarters.
        const double x = grid.taps > 1 ? u + (tap % 2 ? 0.25 : -0.25) : u, y = grid.taps > 1 ? v + (tap / 2 ? 0.25 : -0.25) : v;
        place_chunk(grid, static_cast<float>(m[0] * x + m[1] * y + m[2]), static_cast<float>(m[3] * x + m[4] * y + m[5]),
                    static_cast<float>(m[0]), static_cast<float>(m[3]), &chunk);
        gather_chunk(grid, &chunk);
        for (int channel = 0; channel < 3; ++channel) blend_chunk(chunk, 8 * channel, sums[channel]);
    }
}

// One crop: out (3, side, side).
static void crop_sample(const CropGrid& grid, std::int64_t side, float* out) {
    alignas(64) float sums[3][kChunk];
    for (std::int64_t v = 0; v < side; ++v) {
        for (std::int64_t u = 0; u < side; u += kChunk) {
            sum_taps(grid, static_cast<double>(u), static_cast<double>(v), sums);
            const auto wanted = static_cast<std::size_t>(std::min<std::int64_t>(kChunk, side - u));
            for (int channel = 0; channel < 3; ++channel) {
                std::memcpy(out + ((2 - channel) * side + v) * side + u, sums[channel], wanted * sizeof(float));
            }
        }
    }
}

// Sums of `block` rows of 3 * columns bytes; rows past the last one repeat it.
static inline void sum_rows(const CropBlocks& b, std::int64_t first_row, std::uint16_t* sums) {
    const std::int64_t bytes = 3 * (std::min(b.x0 + b.columns * b.block, b.width) - b.x0);
    std::fill(sums, sums + 3 * b.columns * b.block, std::uint16_t{0});
    for (std::int64_t y = first_row; y < first_row + b.block; ++y) {
        const std::uint8_t* row = b.bgr + std::min(y, b.height - 1) * b.row_bytes + 3 * b.x0;
        for (std::int64_t i = 0; i < bytes; ++i) sums[i] = static_cast<std::uint16_t>(sums[i] + row[i]);
    }
    for (std::int64_t i = bytes; i < 3 * b.columns * b.block; ++i) sums[i] = sums[i - 3];
}

// Means of blocks: out (rows, columns, 3) packed. sums: 3 * columns * block numbers to work in.
static void crop_blocks(const CropBlocks& b, std::uint16_t* sums, std::uint8_t* out) {
    int shift = 0;
    while ((std::int64_t{1} << shift) < b.block * b.block) ++shift;
    const std::uint32_t half = (1u << shift) >> 1;
    for (std::int64_t row = 0; row < b.rows; ++row) {
        sum_rows(b, b.y0 + row * b.block, sums);
        for (std::int64_t column = 0; column < b.columns; ++column) {
            const std::uint16_t* from = sums + 3 * column * b.block;
            std::uint32_t blue = half, green = half, red = half;
            for (std::int64_t i = 0; i < b.block; ++i, from += 3) blue += from[0], green += from[1], red += from[2];
            *out++ = static_cast<std::uint8_t>(blue >> shift);
            *out++ = static_cast<std::uint8_t>(green >> shift);
            *out++ = static_cast<std::uint8_t>(red >> shift);
        }
    }
}
