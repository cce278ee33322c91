// Kernel of draw_strokes: row by row, the pixels near the stroke sixteen at a time.

constexpr int kSpan = 16;
constexpr float kFarthest = 1e6f;  // px; float32 places are good to a sixteenth there

// slope, beside: how far the middle line moves a row, and half the width of its strip in a row; flat: neither is used.
struct StrokeShape {
    float x0, y0, dx, dy, per_length2, reach, low, high, slope, beside;
    bool flat;
};

static inline StrokeShape shape_of(const float* stroke) {
    StrokeShape s{stroke[0], stroke[1], stroke[2] - stroke[0], stroke[3] - stroke[1], 0, 0.5f * stroke[4] + 0.5f, 0, 0, 0, 0, true};
    const float length2 = s.dx * s.dx + s.dy * s.dy;
    s.per_length2 = length2 > 1e-12f ? 1.0f / length2 : 0.0f;
    s.low = std::min(stroke[0], stroke[2]) - s.reach, s.high = std::max(stroke[0], stroke[2]) + s.reach;
    s.flat = !(std::fabs(s.dy) * 100.0f > std::fabs(s.dx));
    if (s.flat) return s;
    s.slope = s.dx / s.dy;
    s.beside = s.reach * std::sqrt(1.0f + s.slope * s.slope);
    return s;
}

// Cover 0..256 of kSpan pixels from (x, y) on, relative to the stroke's start.
static inline void cover_span(const StrokeShape& s, float x, float y, std::int32_t* cover) {
    for (int i = 0; i < kSpan; ++i) {
        const float px = x + static_cast<float>(i);
        const float along = (px * s.dx + y * s.dy) * s.per_length2;
        const float not_before = along > 0.0f ? along : 0.0f, t = not_before < 1.0f ? not_before : 1.0f;
        const float ex = px - t * s.dx, ey = y - t * s.dy;
        const float share = s.reach - std::sqrt(ex * ex + ey * ey);
        const float above = share > 0.0f ? share : 0.0f, within = above < 1.0f ? above : 1.0f;
        cover[i] = static_cast<std::int32_t>(within * 256.0f + 0.5f);
    }
}

static inline void blend_span(std::uint8_t* to, const std::int32_t* cover, int count, const std::uint8_t* colour) {
    const std::int32_t blue = colour[0], green = colour[1], red = colour[2];
    for (int i = 0; i < count; ++i, to += 3) {
        const std::int32_t share = cover[i];
        to[0] = static_cast<std::uint8_t>(to[0] + (((blue - to[0]) * share + 128) >> 8));
        to[1] = static_cast<std::uint8_t>(to[1] + (((green - to[1]) * share + 128) >> 8));
        to[2] = static_cast<std::uint8_t>(to[2] + (((red - to[2]) * share + 128) >> 8));
    }
}

// First and last whole number in low .. high and 0 .. length - 1.
static inline bool clip_range(float low, float high, std::int64_t length, std::int64_t* first, std::int64_t* last) {
    const auto end = static_cast<float>(length - 1);
    if (!(low <= end && high >= 0.0f)) return false;
    *first = low > 0.0f ? static_cast<std::int64_t>(std::ceil(low)) : 0;
    *last = high < end ? static_cast<std::int64_t>(high) : length - 1;
    return *first <= *last;
}

static inline void draw_row(const Canvas& c, const StrokeShape& s, std::int64_t y, const std::uint8_t* colour) {
    const float down = static_cast<float>(y) - s.y0, middle = s.x0 + down * s.slope;
    const float low = s.flat ? s.low : std::max(s.low, middle - s.beside);
    const float high = s.flat ? s.high : std::min(s.high, middle + s.beside);
    std::int64_t first, last;
    if (!clip_range(low, high, c.width, &first, &last)) return;
    std::uint8_t* row = c.bgr + y * c.row_bytes;
    alignas(64) std::int32_t cover[kSpan];
    for (std::int64_t x = first; x <= last; x += kSpan) {
        cover_span(s, static_cast<float>(x) - s.x0, down, cover);
        blend_span(row + 3 * x, cover, static_cast<int>(std::min<std::int64_t>(kSpan, last - x + 1)), colour);
    }
}

static inline bool is_sound(const float* stroke) {
    for (int i = 0; i < 5; ++i) {
        if (!(std::fabs(stroke[i]) <= kFarthest)) return false;
    }
    return stroke[4] > 0.0f;
}

static void draw_strokes(const Canvas& canvas, const float* strokes, const std::uint8_t* colours, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i, strokes += 5) {
        if (!is_sound(strokes)) continue;
        const StrokeShape shape = shape_of(strokes);
        const float top = std::min(strokes[1], strokes[3]) - shape.reach, bottom = std::max(strokes[1], strokes[3]) + shape.reach;
        std::int64_t first, last;
        if (!clip_range(top, bottom, canvas.height, &first, &last)) continue;
        for (std::int64_t y = first; y <= last; ++y) draw_row(canvas, shape, y, colours + 3 * i);
    }
}
