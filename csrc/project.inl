// Projection kernels: points as columns in blocks, all cameras over each block.

constexpr int kBlock = 192;  // points staged at once, both hands; a multiple of every kLanes. The last lanes repeat a point

struct PointBlock {
    alignas(64) double x[kBlock], y[kBlock], z[kBlock];
    int count;
};

template <class T>
static inline void gather_points(const T* points, int count, PointBlock* block) {
    for (int i = 0; i < count; ++i) {
        block->x[i] = points[3 * i];
        block->y[i] = points[3 * i + 1];
        block->z[i] = points[3 * i + 2];
    }
    for (int i = count; i < (count + kLanes - 1) / kLanes * kLanes; ++i) {
        block->x[i] = block->x[0], block->y[i] = block->y[0], block->z[i] = block->z[0];
    }
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
static inline void project_lanes(const CameraModel& c, const PointBlock& points, int i, T* points_px,
                                 std::uint8_t* in_front, std::uint8_t* inside) {
    const double *r = c.rotation, *t = c.translation_mm;
    const Lanes px = load_lanes(points.x + i), py = load_lanes(points.y + i), pz = load_lanes(points.z + i);
    const Lanes x_cam = r[0] * px + r[1] * py + (r[2] * pz + t[0]);
    const Lanes y_cam = r[3] * px + r[4] * py + (r[5] * pz + t[1]);
    const Lanes z_cam = r[6] * px + r[7] * py + (r[8] * pz + t[2]);
    const LaneMask front = z_cam > 0.0;
    // NaN from here on where there is no image; a comparison with NaN is false, so it is not inside either.
    const Lanes inverse = select(front, 1.0 / z_cam, splat(std::numeric_limits<double>::quiet_NaN()));
    const Lanes x = x_cam * inverse, y = y_cam * inverse, r2 = x * x + y * y;
    Lanes xd, yd;
    distort(c, x, y, r2, &xd, &yd);
    const Lanes u = c.fx * xd + c.cx, v = c.fy * yd + c.cy;
    store_pairs(points_px, u, v);
    store_mask(in_front, front);
    store_mask(inside, (r2 <= c.r2_limit) & (u >= -0.5) & (u < c.width_px - 0.5) & (v >= -0.5) &
                           (v < c.height_px - 0.5));
}

// One camera, one block. The camera is a copy: no store can change it, so it stays in registers. The last points go
// through a small buffer: whole lanes would run past the end.
template <class T>
static inline void project_block(const CameraModel c, const PointBlock& points, T* points_px, std::uint8_t* in_front,
                                 std::uint8_t* inside) {
    int i = 0;
    for (; i + kLanes <= points.count; i += kLanes) {
        project_lanes(c, points, i, points_px + 2 * i, in_front + i, inside + i);
    }
    if (i == points.count) return;
    T last_px[2 * kLanes];
    std::uint8_t last_front[kLanes], last_inside[kLanes];
    project_lanes(c, points, i, last_px, last_front, last_inside);
    const auto count = static_cast<std::size_t>(points.count - i);
    std::memcpy(points_px + 2 * i, last_px, 2 * sizeof(T) * count);
    std::memcpy(in_front + i, last_front, count);
    std::memcpy(inside + i, last_inside, count);
}

static inline void project_cameras(const PointBlock& points, const CameraModel* cameras, std::int64_t views,
                                   std::int64_t step, double* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    for (std::int64_t v = 0; v < views; ++v) {
        const std::int64_t at = v * step;
        project_block(cameras[v], points, points_px + 2 * at, in_front + at, inside + at);
    }
}

#include "project_near.inl"

template <class T>
static void project(const T* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
                    T* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    PointBlock points;
    for (std::int64_t start = 0; start < count; start += kBlock) {
        gather_points(points_mm + 3 * start, static_cast<int>(std::min<std::int64_t>(kBlock, count - start)), &points);
        project_cameras(points, cameras, views, count, points_px + 2 * start, in_front + start, inside + start);
    }
}
