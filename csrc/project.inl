// Projection kernels: points as columns in blocks, all cameras over each block.

constexpr int kGroup = 16;   // a multiple of every kLanes
constexpr int kBlock = 192;  // points staged at once, both hands; a multiple of kGroup

struct PointBlock {
    alignas(64) double x[kBlock], y[kBlock], z[kBlock];
    int count;
};

// In the output's own type, so that writing it out and comparing needs half the registers in float32.
template <class T>
struct PixelBlock {
    alignas(64) T u[kBlock], v[kBlock];  // NaN where there is no image
    alignas(64) T z[kBlock];             // depth
    alignas(64) T valid_z[kBlock];       // depth where the lens model holds, else -1
};

template <class T>
static inline void gather_points(const T* points, int count, PointBlock* block) {
    for (int i = 0; i < count; ++i) {
        block->x[i] = points[3 * i];
        block->y[i] = points[3 * i + 1];
        block->z[i] = points[3 * i + 2];
    }
    for (int i = count; i < kBlock; ++i) block->x[i] = block->y[i] = block->z[i] = 0;
    block->count = count;
}

// OpenCV's five terms: radial 1 + k1 r^2 + k2 r^4 + k3 r^6, tangential p1, p2, gathered so that x and y share a factor:
// 2 p1 x y + p2 (r^2 + 2 x^2) = 2 x (p1 y + p2 x) + p2 r^2.
static inline void distort(const CameraModel& c, Lanes x, Lanes y, Lanes r2, Lanes* xd, Lanes* yd) {
    const Lanes tangential = (2.0 * c.p1) * y + (2.0 * c.p2) * x;
    const Lanes factor = 1.0 + r2 * (c.k1 + r2 * (c.k2 + r2 * c.k3)) + tangential;
    *xd = x * factor + c.p2 * r2;
    *yd = y * factor + c.p1 * r2;
}

template <class T>
static inline void project_lanes(const CameraModel& c, const PointBlock& points, int i, PixelBlock<T>* out) {
    const double *r = c.rotation, *t = c.translation_mm;
    const Lanes px = load_lanes(points.x + i), py = load_lanes(points.y + i), pz = load_lanes(points.z + i);
    const Lanes x_cam = r[0] * px + r[1] * py + (r[2] * pz + t[0]);
    const Lanes y_cam = r[3] * px + r[4] * py + (r[5] * pz + t[1]);
    const Lanes z_cam = r[6] * px + r[7] * py + (r[8] * pz + t[2]);
    // NaN from here on where there is no image.
    const Lanes inverse = select(z_cam > 0.0, 1.0 / z_cam, splat(std::numeric_limits<double>::quiet_NaN()));
    const Lanes x = x_cam * inverse, y = y_cam * inverse, r2 = x * x + y * y;
    Lanes xd, yd;
    distort(c, x, y, r2, &xd, &yd);
    store_lanes(out->u + i, c.fx * xd + c.cx);
    store_lanes(out->v + i, c.fy * yd + c.cy);
    store_lanes(out->z + i, z_cam);
    store_lanes(out->valid_z + i, select(r2 <= c.r2_limit, z_cam, splat(-1.0)));
}

// What goes out for a block, interleaved and packed. Whole groups of kGroup, so that no loop has a slow tail.
template <class T>
struct PackedBlock {
    alignas(64) T points_px[2 * kBlock];
    alignas(64) std::uint8_t in_front[kBlock], inside[kBlock];
};

template <class T>
static inline void pack_pixels(const PixelBlock<T>& block, int count, const CameraModel& c, PackedBlock<T>* out) {
    const T left = static_cast<T>(-0.5), right = static_cast<T>(c.width_px - 0.5);
    const T bottom = static_cast<T>(c.height_px - 0.5);
    for (int start = 0; start < count; start += kGroup) {
        for (int i = start; i < start + kGroup; ++i) {
            out->points_px[2 * i] = block.u[i];
            out->points_px[2 * i + 1] = block.v[i];
        }
        for (int i = start; i < start + kGroup; ++i) {
            out->in_front[i] = block.z[i] > 0;
            out->inside[i] = (block.valid_z[i] > 0) & (block.u[i] >= left) & (block.u[i] < right) &
                             (block.v[i] >= left) & (block.v[i] < bottom);
        }
    }
}

template <class T>
static void project(const T* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
                    T* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    PointBlock points;
    PixelBlock<T> pixels = {};  // lanes past the last point are packed too, then dropped
    PackedBlock<T> packed;
    for (std::int64_t start = 0; start < count; start += kBlock) {
        const int size = static_cast<int>(std::min<std::int64_t>(kBlock, count - start));
        const auto bytes = static_cast<std::size_t>(size);
        gather_points(points_mm + 3 * start, size, &points);
        for (std::int64_t v = 0; v < views; ++v) {
            for (int i = 0; i < size; i += kLanes) project_lanes(cameras[v], points, i, &pixels);
            pack_pixels(pixels, size, cameras[v], &packed);
            const std::int64_t at = v * count + start;
            std::memcpy(points_px + 2 * at, packed.points_px, 2 * sizeof(T) * bytes);
            std::memcpy(in_front + at, packed.in_front, bytes);
            std::memcpy(inside + at, packed.inside, bytes);
        }
    }
}
