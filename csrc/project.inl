// Projection kernels: points as columns in blocks, all cameras over each block.

constexpr int kBlock = 64;  // points staged at once; a multiple of every kLanes

struct PointBlock {
    alignas(64) double x[kBlock], y[kBlock], z[kBlock];
    int count;
};

struct PixelBlock {
    alignas(64) double u[kBlock], v[kBlock];  // NaN where there is no image
    alignas(64) double z[kBlock];             // depth
    alignas(64) double valid_z[kBlock];       // depth where the lens model holds, else -1
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

// OpenCV's five terms: radial 1 + k1 r^2 + k2 r^4 + k3 r^6, tangential p1, p2.
static inline void distort(const CameraModel& c, Lanes x, Lanes y, Lanes r2, Lanes* xd, Lanes* yd) {
    const Lanes radial = 1.0 + r2 * (c.k1 + r2 * (c.k2 + r2 * c.k3));
    const Lanes xy2 = 2.0 * x * y;
    *xd = x * radial + (c.p1 * xy2 + c.p2 * (r2 + 2.0 * x * x));
    *yd = y * radial + (c.p2 * xy2 + c.p1 * (r2 + 2.0 * y * y));
}

template <bool kExact>
static inline void project_lanes(const CameraModel& c, const PointBlock& points, int i, PixelBlock* out) {
    const double *r = c.rotation, *t = c.translation_mm;
    const Lanes px = load_lanes(points.x + i), py = load_lanes(points.y + i), pz = load_lanes(points.z + i);
    const Lanes x_cam = r[0] * px + r[1] * py + (r[2] * pz + t[0]);
    const Lanes y_cam = r[3] * px + r[4] * py + (r[5] * pz + t[1]);
    const Lanes z_cam = r[6] * px + r[7] * py + (r[8] * pz + t[2]);
    const Lanes inverse = kExact ? 1.0 / z_cam : fast_reciprocal(z_cam);
    const Lanes x = x_cam * inverse, y = y_cam * inverse, r2 = x * x + y * y;
    Lanes xd, yd;
    distort(c, x, y, r2, &xd, &yd);
    const Lanes nowhere = splat(std::numeric_limits<double>::quiet_NaN());
    const LaneMask front = z_cam > (kExact ? 0.0 : 1e-30);
    store_lanes(out->u + i, select(front, c.fx * xd + c.cx, nowhere));
    store_lanes(out->v + i, select(front, c.fy * yd + c.cy, nowhere));
    store_lanes(out->z + i, z_cam);
    store_lanes(out->valid_z + i, select(r2 <= c.r2_limit, z_cam, splat(-1.0)));
}

template <class T>
static inline void write_pixels(const PixelBlock& block, int count, const CameraModel& c, T* points_px,
                                std::uint8_t* in_front, std::uint8_t* inside) {
    constexpr double lowest = sizeof(T) == 4 ? 1e-30 : 0.0;
    const double right = c.width_px - 0.5, bottom = c.height_px - 0.5;
    for (int i = 0; i < count; ++i) {
        points_px[2 * i] = static_cast<T>(block.u[i]);
        points_px[2 * i + 1] = static_cast<T>(block.v[i]);
    }
    for (int i = 0; i < count; ++i) in_front[i] = block.z[i] > lowest;
    for (int i = 0; i < count; ++i) {
        inside[i] = (block.valid_z[i] > lowest) & (block.u[i] >= -0.5) & (block.u[i] < right) &
                    (block.v[i] >= -0.5) & (block.v[i] < bottom);
    }
}

template <class T>
static void project(const T* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
                    T* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    PointBlock points;
    PixelBlock pixels;
    for (std::int64_t start = 0; start < count; start += kBlock) {
        const int size = static_cast<int>(std::min<std::int64_t>(kBlock, count - start));
        gather_points(points_mm + 3 * start, size, &points);
        for (std::int64_t v = 0; v < views; ++v) {
            for (int i = 0; i < size; i += kLanes) project_lanes<sizeof(T) == 8>(cameras[v], points, i, &pixels);
            const std::int64_t at = v * count + start;
            write_pixels(pixels, size, cameras[v], points_px + 2 * at, in_front + at, inside + at);
        }
    }
}
