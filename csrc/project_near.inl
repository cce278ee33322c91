// Projection in float32, relative to the middle of a cloud of points. The middle goes through each camera in float64; what
// is left, the way from its pixel to each point's pixel, is small, and float32 with its twice as many lanes holds it.
// Only for clouds and cameras where it does so to kMostOffPx; project.inl has the rest.

constexpr double kMostOffPx = 1e-4;   // of a float32 answer, its own rounding included
constexpr double kRoundings = 4.5;    // error of a way of w px, in units of 2^-24 w: 2e9 random coordinates kept to 9.4e-5 px
constexpr double kFloatUnit = 1.0 / 16777216;  // 2^-24: half a float32's last place, relative

// A cloud of points about its middle.
struct NearBlock {
    alignas(64) float x[kBlock], y[kBlock], z[kBlock];
    double middle[3], radius;  // radius: of the ball round the middle that holds every point; NaN when one is not finite
};

static inline double middle_of(const double* values, int count) {
    Lanes least = load_lanes(values), most = least;
    for (int i = kLanes; i < count; i += kLanes) {
        const Lanes value = load_lanes(values + i);
        least = select(value < least, value, least);
        most = larger(value, most);
    }
    double low = lane(least, 0), high = lane(most, 0);
    for (int i = 1; i < kLanes; ++i) low = std::min(low, lane(least, i)), high = std::max(high, lane(most, i));
    return 0.5 * (low + high);
}

static inline void gather_near(const PointBlock& points, NearBlock* near) {
    double* m = near->middle;
    m[0] = middle_of(points.x, points.count);
    m[1] = middle_of(points.y, points.count);
    m[2] = middle_of(points.z, points.count);
    Lanes most2 = splat(0.0), lost = splat(0.0);
    for (int i = 0; i < points.count; i += kLanes) {
        const Lanes x = load_lanes(points.x + i) - m[0], y = load_lanes(points.y + i) - m[1],
                    z = load_lanes(points.z + i) - m[2], r2 = x * x + y * y + z * z;
        store_floats(near->x + i, x), store_floats(near->y + i, y), store_floats(near->z + i, z);
        most2 = larger(r2, most2);
        lost += r2 - r2;  // NaN for ever once one point is not finite
    }
    double radius2 = 0;
    for (int i = 0; i < kLanes; ++i) radius2 = std::max(radius2, lane(most2, i)) + lane(lost, i);
    near->radius = std::sqrt(radius2);
}

// Cameras as the middle of the cloud sees them, one a lane. The middle's depth is the unit of length. A point p beside it
// goes du, dv px in a picture without distortion but with the middle's scale (the lens's common factor f0 there):
// du = a.p / (1 + c.p), dv = b.p / (1 + c.p). The lens adds little: with rho = r^2 - r0^2 and the factor f0 + G,
// u = high + (du + (low + G (u_g + u_gdu du) + u_rho rho)).
struct NearCameras {
    FloatLanes ax, ay, az, bx, by, bz, cx, cy, cz;
    FloatLanes rho_u, rho_uu, rho_v, rho_vv;  // rho = du (rho_u + rho_uu du) + dv (rho_v + rho_vv dv)
    FloatLanes g1, g2, g3, g_u, g_v;          // G = rho (g1 + rho (g2 + rho g3)) + g_u du + g_v dv
    FloatLanes u_g, u_gdu, u_rho, u_low, u_high;
    FloatLanes v_g, v_gdv, v_rho, v_low, v_high;
    FloatLanes rho_end, width_end, height_end;
    LaneMask holds;   // float32 holds every point of the cloud to kMostOffPx
    LaneMask inside;  // and every point of it is inside the picture
};

// kLanes cameras, one a lane; past the last camera, the last again.
struct CameraLanes {
    Lanes fx, fy, cx, cy, k1, k2, p1, p2, k3, r[9], t[3], width_px, height_px, r2_limit;
};

static inline void load_cameras(const CameraModel* cameras, std::int64_t count, CameraLanes* out) {
    for (int i = 0; i < kLanes; ++i) {
        const CameraModel& c = cameras[std::min<std::int64_t>(i, count - 1)];
        set_lane(&out->fx, i, c.fx), set_lane(&out->fy, i, c.fy);
        set_lane(&out->cx, i, c.cx), set_lane(&out->cy, i, c.cy);
        set_lane(&out->k1, i, c.k1), set_lane(&out->k2, i, c.k2), set_lane(&out->k3, i, c.k3);
        set_lane(&out->p1, i, c.p1), set_lane(&out->p2, i, c.p2);
        for (int j = 0; j < 9; ++j) set_lane(&out->r[j], i, c.rotation[j]);
        for (int j = 0; j < 3; ++j) set_lane(&out->t[j], i, c.translation_mm[j]);
        set_lane(&out->width_px, i, c.width_px), set_lane(&out->height_px, i, c.height_px);
        set_lane(&out->r2_limit, i, c.r2_limit);
    }
}

struct Direction {
    Lanes x, y, z;
};
static inline Lanes dot(const Direction& a, const Direction& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

// Furthest that a.p / (1 + c.p) gets from 0 for |p| <= radius: the t for which |a - t c| radius = t.
static inline Lanes furthest(const Direction& a, const Direction& c, double radius, Lanes keep) {
    const Lanes side = radius * absolute(dot(a, c));
    return radius * (side + root(side * side + dot(a, a) * keep)) / keep;
}

// What follows from where the middle lies, in float64.
struct Middle {
    Lanes x, y, r2, depth, factor, u, v;
    Direction a, b, c;
    Lanes g1, g2, g3, gx, gy;
};

static inline Middle see_middle(const CameraLanes& k, const double* at) {
    Middle m;
    m.depth = k.r[6] * at[0] + k.r[7] * at[1] + (k.r[8] * at[2] + k.t[2]);
    const Lanes inverse = 1.0 / m.depth;
    m.x = (k.r[0] * at[0] + k.r[1] * at[1] + (k.r[2] * at[2] + k.t[0])) * inverse;
    m.y = (k.r[3] * at[0] + k.r[4] * at[1] + (k.r[5] * at[2] + k.t[1])) * inverse;
    m.r2 = m.x * m.x + m.y * m.y;
    m.c = {k.r[6] * inverse, k.r[7] * inverse, k.r[8] * inverse};
    m.a = {k.r[0] * inverse - m.x * m.c.x, k.r[1] * inverse - m.x * m.c.y, k.r[2] * inverse - m.x * m.c.z};
    m.b = {k.r[3] * inverse - m.y * m.c.x, k.r[4] * inverse - m.y * m.c.y, k.r[5] * inverse - m.y * m.c.z};
    m.gx = 2.0 * k.p2, m.gy = 2.0 * k.p1;
    m.g1 = k.k1 + m.r2 * (2.0 * k.k2 + 3.0 * k.k3 * m.r2);
    m.g2 = k.k2 + 3.0 * k.k3 * m.r2;
    m.g3 = k.k3;
    m.factor = 1.0 + m.r2 * (k.k1 + m.r2 * (k.k2 + m.r2 * k.k3)) + m.gx * m.x + m.gy * m.y;
    m.u = k.fx * (m.x * m.factor + k.p2 * m.r2) + k.cx;
    m.v = k.fy * (m.y * m.factor + k.p1 * m.r2) + k.cy;
    return m;
}

static inline void round_cameras(const CameraLanes& k, const Middle& m, NearCameras* out) {
    const Lanes su = k.fx * m.factor, sv = k.fy * m.factor, x_u = 1.0 / su, y_v = 1.0 / sv;
    out->ax = rounded(su * m.a.x), out->ay = rounded(su * m.a.y), out->az = rounded(su * m.a.z);
    out->bx = rounded(sv * m.b.x), out->by = rounded(sv * m.b.y), out->bz = rounded(sv * m.b.z);
    out->cx = rounded(m.c.x), out->cy = rounded(m.c.y), out->cz = rounded(m.c.z);
    out->rho_u = rounded(2.0 * m.x * x_u), out->rho_uu = rounded(x_u * x_u);
    out->rho_v = rounded(2.0 * m.y * y_v), out->rho_vv = rounded(y_v * y_v);
    out->g1 = rounded(m.g1), out->g2 = rounded(m.g2), out->g3 = rounded(m.g3);
    out->g_u = rounded(m.gx * x_u), out->g_v = rounded(m.gy * y_v);
    out->u_g = rounded(k.fx * m.x), out->u_gdu = rounded(k.fx * x_u), out->u_rho = rounded(k.fx * k.p2);
    out->v_g = rounded(k.fy * m.y), out->v_gdv = rounded(k.fy * y_v), out->v_rho = rounded(k.fy * k.p1);
    out->u_high = rounded(m.u), out->u_low = rounded(m.u - widened(out->u_high));
    out->v_high = rounded(m.v), out->v_low = rounded(m.v - widened(out->v_high));
    out->rho_end = rounded(k.r2_limit - m.r2);
    out->width_end = rounded(k.width_px - 0.5), out->height_end = rounded(k.height_px - 0.5);
}

// Whether float32 will do. Every term of a pixel's way from the middle's pixel is bounded over the ball; the sum of the
// bounds, times the rounding of float32, must leave room for the rounding of the answer.
static inline void judge_cameras(const CameraLanes& k, const Middle& m, double radius, NearCameras* out) {
    const Lanes keep = 1.0 - radius * radius * dot(m.c, m.c);
    const Lanes dx = furthest(m.a, m.c, radius, keep), dy = furthest(m.b, m.c, radius, keep);
    const Lanes rho = dx * (dx + 2.0 * absolute(m.x)) + dy * (dy + 2.0 * absolute(m.y));
    const Lanes g = rho * (absolute(m.g1) + rho * (absolute(m.g2) + rho * absolute(m.g3))) + absolute(m.gx) * dx +
                    absolute(m.gy) * dy;
    const Lanes factor = absolute(m.factor) + g;
    const Lanes du = k.fx * (dx * factor + absolute(m.x) * g + absolute(k.p2) * rho);
    const Lanes dv = k.fy * (dy * factor + absolute(m.y) * g + absolute(k.p1) * rho);
    const Lanes most = larger(absolute(m.u) + du, absolute(m.v) + dv);
    const Lanes last = select(most < 1024.0, splat(1024 * kFloatUnit), splat(2048 * kFloatUnit));
    out->holds = (m.depth > 0.0) & (keep > 0.75) & (most < 2048.0) &
                 ((0.5 * last + kRoundings * kFloatUnit * larger(du, dv)) <= kMostOffPx);
    out->inside = (m.u - du >= -0.499) & (m.v - dv >= -0.499) & (m.u + du < k.width_px - 0.501) &
                  (m.v + dv < k.height_px - 0.501) & (m.r2 + rho <= k.r2_limit);
}

static inline void see_cameras(const CameraModel* cameras, std::int64_t count, const NearBlock& near, NearCameras* out) {
    CameraLanes k;  // every lane is set just below: zeroing it first would cost as much as reading the cameras
    load_cameras(cameras, count, &k);
    const Middle m = see_middle(k, near.middle);
    round_cameras(k, m, out);
    judge_cameras(k, m, near.radius, out);
}

template <bool all_inside>
static inline void near_lanes(const NearCameras& c, int camera, const NearBlock& points, int i, float* points_px,
                              std::uint8_t* inside) {
    const auto of = [camera](const FloatLanes& value) { return lane(value, camera); };
    const Floats px = load_floats(points.x + i), py = load_floats(points.y + i), pz = load_floats(points.z + i);
    const Floats depth = of(c.cx) * px + (of(c.cy) * py + (of(c.cz) * pz + 1.0f)), inverse = 1.0f / depth;
    const Floats a = of(c.ax) * px + (of(c.ay) * py + of(c.az) * pz), b = of(c.bx) * px + (of(c.by) * py + of(c.bz) * pz);
    const Floats du = a * inverse, dv = b * inverse;
    const Floats rho = du * (of(c.rho_u) + of(c.rho_uu) * du) + dv * (of(c.rho_v) + of(c.rho_vv) * dv);
    const Floats g = rho * (of(c.g1) + rho * (of(c.g2) + rho * of(c.g3))) + (of(c.g_u) * du + of(c.g_v) * dv);
    const Floats lens_u = g * (of(c.u_g) + of(c.u_gdu) * du) + (of(c.u_rho) * rho + of(c.u_low));
    const Floats lens_v = g * (of(c.v_g) + of(c.v_gdv) * dv) + (of(c.v_rho) * rho + of(c.v_low));
    const Floats u = of(c.u_high) + (a * inverse + lens_u), v = of(c.v_high) + (b * inverse + lens_v);  // du unrounded
    store_pairs(points_px + 2 * i, u, v);
    if (!all_inside) {
        store_float_mask(inside + i, (rho <= of(c.rho_end)) & (u >= -0.5f) & (u < of(c.width_end)) & (v >= -0.5f) &
                                         (v < of(c.height_end)));
    }
}

// One camera, one block of kFloats points or more; the last lanes go over points already done.
template <bool all_inside>
static inline void project_near(const NearCameras& c, int camera, const NearBlock& points, int count, float* points_px,
                                std::uint8_t* in_front, std::uint8_t* inside) {
    for (int i = 0; i + kFloats <= count; i += kFloats) {
        near_lanes<all_inside>(c, camera, points, i, points_px, inside);
    }
    if (count % kFloats != 0) near_lanes<all_inside>(c, camera, points, count - kFloats, points_px, inside);
    std::memset(in_front, 1, static_cast<std::size_t>(count));
    if (all_inside) std::memset(inside, 1, static_cast<std::size_t>(count));
}

// One block into every camera; `step` is N, from one camera's answers to the next's.
static inline void project_cameras(const PointBlock& points, const CameraModel* cameras, std::int64_t views,
                                   std::int64_t step, float* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    NearBlock near;
    NearCameras seen;
    const bool enough = points.count >= kFloats;
    if (enough) gather_near(points, &near);
    for (std::int64_t v = 0; v < views; ++v) {
        const int camera = static_cast<int>(v % kLanes);
        if (enough && camera == 0) see_cameras(cameras + v, views - v, near, &seen);
        float* px = points_px + 2 * v * step;
        std::uint8_t *front = in_front + v * step, *in = inside + v * step;
        if (!enough || !lane(seen.holds, camera)) {
            project_block(cameras[v], points, px, front, in);
        } else if (lane(seen.inside, camera)) {
            project_near<true>(seen, camera, near, points.count, px, front, in);
        } else {
            project_near<false>(seen, camera, near, points.count, px, front, in);
        }
    }
}
