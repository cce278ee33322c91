// Triangulation kernels. Lanes are points (or, in the search for outlying views, hypotheses about one point), so one
// text serves both. Residuals are in pixels of the distorted picture: the lens is straightened once per observation
// and its slope there carries normalised residuals back to pixels.

constexpr int kMaxPairs = 128;     // hypotheses tried for one point; every pair of up to 16 views
constexpr int kMaxSteps = 10;      // Gauss-Newton; 2 or 3 are the rule
constexpr int kMaxUndistort = 30;  // Newton; 3 to 5 are the rule
constexpr int kMaxRegroups = 5;    // rounds of choosing the agreeing views and fitting them again

// What one view saw: undistorted direction (x, y, 1), slope of pixels over it, score (0: not usable).
struct Sight {
    Lanes x, y, ux, uy, vx, vy, score;
};

struct Point3 {
    Lanes x, y, z;
};

// Symmetric 3x3 system of weighted least squares.
struct Normal {
    Lanes xx, xy, xz, yy, yz, zz, bx, by, bz;
};

// Newton on OpenCV's five terms; the Jacobian is symmetric. Lanes that do not settle inside the one-to-one radius
// (pixels that no ray of this lens reaches) come back with score 0.
static inline Sight undistorted_sight(const CameraModel& c, Lanes u, Lanes v, Lanes score) {
    const Lanes goal_x = (u - c.cx) / c.fx, goal_y = (v - c.cy) / c.fy;
    Lanes x = goal_x, y = goal_y, dxx, dxy, dyy;
    LaneMask moving;
    int round = 0;
    do {
        const Lanes r2 = x * x + y * y;
        const Lanes radial = 1.0 + r2 * (c.k1 + r2 * (c.k2 + r2 * c.k3));
        const Lanes slope = 2.0 * (c.k1 + r2 * (2.0 * c.k2 + r2 * (3.0 * c.k3)));
        Lanes xd, yd;
        distort(c, x, y, r2, &xd, &yd);
        dxx = radial + slope * x * x + 2.0 * c.p1 * y + 6.0 * c.p2 * x;
        dyy = radial + slope * y * y + 6.0 * c.p1 * y + 2.0 * c.p2 * x;
        dxy = slope * x * y + 2.0 * c.p1 * x + 2.0 * c.p2 * y;
        const Lanes off_x = goal_x - xd, off_y = goal_y - yd, scale = 1.0 / (dxx * dyy - dxy * dxy);
        const Lanes step_x = (dyy * off_x - dxy * off_y) * scale, step_y = (dxx * off_y - dxy * off_x) * scale;
        x = x + step_x;
        y = y + step_y;
        moving = step_x * step_x + step_y * step_y > 1e-18 * (1.0 + r2);  // the step after it is its square
    } while (any(moving) && ++round < kMaxUndistort);
    const Lanes zero = splat(0.0);
    const Lanes limit = select(moving, splat(-1.0), splat(c.r2_limit));
    const LaneMask settled = x * x + y * y <= limit;
    return {select(settled, x, zero), select(settled, y, zero), select(settled, c.fx * dxx, zero),
            select(settled, c.fx * dxy, zero), select(settled, c.fy * dxy, zero), select(settled, c.fy * dyy, zero),
            select(settled, score, zero)};
}

static inline void add_row(Normal* n, Lanes weight, Lanes gx, Lanes gy, Lanes gz, Lanes wanted) {
    const Lanes wx = weight * gx, wy = weight * gy, wz = weight * gz;
    n->xx += wx * gx, n->xy += wx * gy, n->xz += wx * gz;
    n->yy += wy * gy, n->yz += wy * gz, n->zz += wz * gz;
    n->bx += wx * wanted, n->by += wy * wanted, n->bz += wz * wanted;
}

// Two rows in pixels: slope of the picture times (P0 - x P2, P1 - y P2), scaled by `scale`.
static inline void add_view(Normal* n, const CameraModel& c, const Sight& s, Lanes x, Lanes y, Lanes scale, Lanes weight,
                            Lanes wanted_u, Lanes wanted_v) {
    const double* r = c.rotation;
    const Lanes ax = r[0] - x * r[6], ay = r[1] - x * r[7], az = r[2] - x * r[8];
    const Lanes bx = r[3] - y * r[6], by = r[4] - y * r[7], bz = r[5] - y * r[8];
    const Lanes ux = s.ux * scale, uy = s.uy * scale, vx = s.vx * scale, vy = s.vy * scale;
    add_row(n, weight, ux * ax + uy * bx, ux * ay + uy * by, ux * az + uy * bz, wanted_u);
    add_row(n, weight, vx * ax + vy * bx, vx * ay + vy * by, vx * az + vy * bz, wanted_v);
}

// Cramer's rule. Without parallax the determinant is rounding noise: then NaN.
static inline Point3 solve(const Normal& n) {
    const Lanes c00 = n.yy * n.zz - n.yz * n.yz, c01 = n.xz * n.yz - n.xy * n.zz, c02 = n.xy * n.yz - n.xz * n.yy;
    const Lanes c11 = n.xx * n.zz - n.xz * n.xz, c12 = n.xy * n.xz - n.xx * n.yz, c22 = n.xx * n.yy - n.xy * n.xy;
    const Lanes determinant = n.xx * c00 + n.xy * c01 + n.xz * c02;
    const LaneMask sound = determinant > 1e-13 * (n.xx * n.yy * n.zz);
    const Lanes inverse = select(sound, 1.0 / determinant, splat(std::numeric_limits<double>::quiet_NaN()));
    return {(c00 * n.bx + c01 * n.by + c02 * n.bz) * inverse, (c01 * n.bx + c11 * n.by + c12 * n.bz) * inverse,
            (c02 * n.bx + c12 * n.by + c22 * n.bz) * inverse};
}

// One point group (or one point's hypotheses): its views and the memory to work in.
struct Group {
    const CameraModel* cameras;
    std::int64_t views;
    Sight* sights;
    Lanes* weights;     // score where the view is used, else 0
    Lanes* residuals2;  // px^2; inf behind the camera
};

static inline Point3 camera_point(const CameraModel& c, const Point3& p) {
    const double *r = c.rotation, *t = c.translation_mm;
    return {r[0] * p.x + r[1] * p.y + (r[2] * p.z + t[0]), r[3] * p.x + r[4] * p.y + (r[5] * p.z + t[1]),
            r[6] * p.x + r[7] * p.y + (r[8] * p.z + t[2])};
}

// Linear least squares (the DLT's two rows a view, in pixels up to depth). Exact on clean data, the start otherwise.
static inline Point3 linear_fit(const Group& g) {
    Normal n = {};
    for (std::int64_t v = 0; v < g.views; ++v) {
        const CameraModel& c = g.cameras[v];
        const Sight& s = g.sights[v];
        const double* t = c.translation_mm;
        const Lanes lack_x = s.x * t[2] - t[0], lack_y = s.y * t[2] - t[1];
        add_view(&n, c, s, s.x, s.y, splat(1.0), g.weights[v], s.ux * lack_x + s.uy * lack_y,
                 s.vx * lack_x + s.vy * lack_y);
    }
    return solve(n);
}

// Gauss-Newton on the reprojection error from `p`, until no lane moves by more than 1e-10 of its size.
static inline Point3 refine(const Group& g, Point3 p) {
    for (int step = 0; step < kMaxSteps; ++step) {
        Normal n = {};
        for (std::int64_t v = 0; v < g.views; ++v) {
            const Sight& s = g.sights[v];
            const Point3 q = camera_point(g.cameras[v], p);
            const Lanes inverse = 1.0 / q.z, x = q.x * inverse, y = q.y * inverse;
            const Lanes off_x = s.x - x, off_y = s.y - y;
            add_view(&n, g.cameras[v], s, x, y, inverse, g.weights[v], s.ux * off_x + s.uy * off_y,
                     s.vx * off_x + s.vy * off_y);
        }
        const Point3 d = solve(n);
        p = {p.x + d.x, p.y + d.y, p.z + d.z};
        const Lanes moved = d.x * d.x + d.y * d.y + d.z * d.z, size = p.x * p.x + p.y * p.y + p.z * p.z;
        if (!any(moved > 1e-20 * (1.0 + size))) break;
    }
    return p;
}

static inline void measure(const Group& g, const Point3& p) {
    const Lanes behind = splat(std::numeric_limits<double>::infinity());
    for (std::int64_t v = 0; v < g.views; ++v) {
        const Sight& s = g.sights[v];
        const Point3 q = camera_point(g.cameras[v], p);
        const Lanes inverse = 1.0 / q.z, x = q.x * inverse - s.x, y = q.y * inverse - s.y;
        const Lanes u = s.ux * x + s.uy * y, w = s.vx * x + s.vy * y;
        g.residuals2[v] = select(q.z > 0.0, u * u + w * w, behind);
    }
}

#include "triangulate_robust.inl"
