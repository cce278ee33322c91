// Triangulation kernels. Lanes are points (or, in the search for outlying views, hypotheses about one point), so one
// text serves both. Residuals are in pixels of the distorted picture: the lens is straightened once per observation
// and its slope there carries normalised residuals back to pixels.

constexpr int kMaxPairs = 128;     // hypotheses tried for one point; every pair of up to 16 views
constexpr int kMaxSteps = 10;      // Gauss-Newton; 2 or 3 are the rule
constexpr int kMaxUndistort = 30;  // Newton; 2 to 4 are the rule
constexpr double kUndistorted2 = 1e-16;  // squared step of Newton that is the last: the one after it would be its square
constexpr int kMaxRegroups = 5;    // rounds of choosing the agreeing views and fitting them again

// What one view saw: undistorted direction (x, y, 1), the metric of pixels there (slope^T slope, so that a way (dx, dy)
// is xx dx^2 + 2 xy dx dy + yy dy^2 px^2 long), score (0: not usable).
struct Sight {
    Lanes x, y, xx, xy, yy, score;
};

struct Point3 {
    Lanes x, y, z;
};

// Symmetric 3x3 system of weighted least squares.
struct Normal {
    Lanes xx, xy, xz, yy, yz, zz, bx, by, bz;
};

// The lens taken off once as if it stood at the distorted place; as it was where that goes too far to be a better start.
static inline void guess_undistorted(const CameraModel& c, Lanes goal_x, Lanes goal_y, Lanes* x, Lanes* y) {
    const Lanes r2 = goal_x * goal_x + goal_y * goal_y;
    Lanes xd, yd;
    distort(c, goal_x, goal_y, r2, &xd, &yd);
    const Lanes off_x = xd - goal_x, off_y = yd - goal_y;
    const LaneMask small = off_x * off_x + off_y * off_y < 0.04 * r2;
    *x = select(small, goal_x - off_x, goal_x);
    *y = select(small, goal_y - off_y, goal_y);
}

// A view on its way from pixels to directions: where the lens must put it, the lens's Jacobian (symmetric) at the place
// before the last step, and that step's squared length.
struct Bend {
    Lanes goal_x, goal_y, xx, xy, yy, step2;
};

static inline void start_undistorting(const CameraModel& c, Lanes u, Lanes v, Lanes score, Sight* s, Bend* bend) {
    bend->goal_x = (u - c.cx) * (1.0 / c.fx);
    bend->goal_y = (v - c.cy) * (1.0 / c.fy);
    guess_undistorted(c, bend->goal_x, bend->goal_y, &s->x, &s->y);
    s->score = score;
}

// One step of Newton on OpenCV's five terms.
static inline LaneMask step_undistorting(const CameraModel& c, Sight* s, Bend* bend) {
    const Lanes x = s->x, y = s->y, r2 = x * x + y * y;
    const Lanes radial = 1.0 + r2 * (c.k1 + r2 * (c.k2 + r2 * c.k3));
    const Lanes slope = 2.0 * (c.k1 + r2 * (2.0 * c.k2 + r2 * (3.0 * c.k3)));
    Lanes xd, yd;
    distort(c, x, y, r2, &xd, &yd);
    const Lanes xx = radial + slope * x * x + 2.0 * c.p1 * y + 6.0 * c.p2 * x;
    const Lanes yy = radial + slope * y * y + 6.0 * c.p1 * y + 2.0 * c.p2 * x;
    const Lanes xy = slope * x * y + 2.0 * c.p1 * x + 2.0 * c.p2 * y;
    const Lanes off_x = bend->goal_x - xd, off_y = bend->goal_y - yd, scale = 1.0 / (xx * yy - xy * xy);
    const Lanes step_x = (yy * off_x - xy * off_y) * scale, step_y = (xx * off_y - xy * off_x) * scale;
    s->x = x + step_x, s->y = y + step_y;
    bend->xx = xx, bend->xy = xy, bend->yy = yy;
    bend->step2 = step_x * step_x + step_y * step_y - kUndistorted2 * (1.0 + r2);
    return bend->step2 > 0.0;
}

// Lanes that did not settle inside the one-to-one radius (pixels that no ray of this lens reaches) get score 0.
static inline void end_undistorting(const CameraModel& c, const Bend& bend, Sight* s) {
    const Lanes zero = splat(0.0), fx2 = splat(c.fx * c.fx), fy2 = splat(c.fy * c.fy);
    const LaneMask settled = (bend.step2 <= 0.0) & (s->x * s->x + s->y * s->y <= c.r2_limit);
    s->xx = select(settled, fx2 * bend.xx * bend.xx + fy2 * bend.xy * bend.xy, zero);
    s->xy = select(settled, (fx2 * bend.xx + fy2 * bend.yy) * bend.xy, zero);
    s->yy = select(settled, fx2 * bend.xy * bend.xy + fy2 * bend.yy * bend.yy, zero);
    s->x = select(settled, s->x, zero), s->y = select(settled, s->y, zero), s->score = select(settled, s->score, zero);
}

// All views take each step together: one view's step waits for itself, other views' steps fill the wait.
static inline void undistort(const CameraModel* cameras, std::int64_t views, Bend* bends, Sight* sights) {
    for (int round = 0; round < kMaxUndistort; ++round) {
        LaneMask moving = splat(0.0) > 0.0;
        for (std::int64_t v = 0; v < views; ++v) moving |= step_undistorting(cameras[v], sights + v, bends + v);
        if (!any(moving)) break;
    }
    for (std::int64_t v = 0; v < views; ++v) end_undistorting(cameras[v], bends[v], sights + v);
}

// The view's two rows (P0 - x P2, P1 - y P2), weighted by the metric of pixels times `weight`, towards off_x, off_y.
static inline void add_view(Normal* n, const CameraModel& c, const Sight& s, Lanes x, Lanes y, Lanes weight, Lanes off_x,
                            Lanes off_y) {
    const double* r = c.rotation;
    const Lanes xx = weight * s.xx, xy = weight * s.xy, yy = weight * s.yy;
    const Lanes ax = r[0] - x * r[6], ay = r[1] - x * r[7], az = r[2] - x * r[8];
    const Lanes bx = r[3] - y * r[6], by = r[4] - y * r[7], bz = r[5] - y * r[8];
    const Lanes px = xx * ax + xy * bx, py = xx * ay + xy * by, pz = xx * az + xy * bz;
    const Lanes qx = xy * ax + yy * bx, qy = xy * ay + yy * by, qz = xy * az + yy * bz;
    n->xx += px * ax + qx * bx, n->xy += px * ay + qx * by, n->xz += px * az + qx * bz;
    n->yy += py * ay + qy * by, n->yz += py * az + qy * bz, n->zz += pz * az + qz * bz;
    n->bx += px * off_x + qx * off_y, n->by += py * off_x + qy * off_y, n->bz += pz * off_x + qz * off_y;
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
        add_view(&n, c, s, s.x, s.y, g.weights[v], s.x * t[2] - t[0], s.y * t[2] - t[1]);
    }
    return solve(n);
}

static inline Lanes pixels2(const Sight& s, Lanes dx, Lanes dy) {
    return dx * (s.xx * dx + 2.0 * s.xy * dy) + s.yy * dy * dy;
}

static inline void measure(const Group& g, const Point3& p) {
    const Lanes behind = splat(std::numeric_limits<double>::infinity());
    for (std::int64_t v = 0; v < g.views; ++v) {
        const Sight& s = g.sights[v];
        const Point3 q = camera_point(g.cameras[v], p);
        const Lanes inverse = 1.0 / q.z;
        g.residuals2[v] = select(q.z > 0.0, pixels2(s, q.x * inverse - s.x, q.y * inverse - s.y), behind);
    }
}

// Gauss-Newton on the reprojection error from `p`, until no lane moves by more than 1e-10 of its size; measures too.
static inline Point3 refine(const Group& g, Point3 p) {
    const Lanes behind = splat(std::numeric_limits<double>::infinity());
    for (int step = 0; step < kMaxSteps; ++step) {
        Normal n = {};
        for (std::int64_t v = 0; v < g.views; ++v) {
            const Sight& s = g.sights[v];
            const Point3 q = camera_point(g.cameras[v], p);
            const Lanes inverse = 1.0 / q.z, x = q.x * inverse, y = q.y * inverse;
            const Lanes off_x = s.x - x, off_y = s.y - y;
            g.residuals2[v] = select(q.z > 0.0, pixels2(s, off_x, off_y), behind);
            add_view(&n, g.cameras[v], s, x, y, g.weights[v] * inverse * inverse, off_x * q.z, off_y * q.z);
        }
        const Point3 d = solve(n);
        p = {p.x + d.x, p.y + d.y, p.z + d.z};
        const Lanes moved = d.x * d.x + d.y * d.y + d.z * d.z, size = p.x * p.x + p.y * p.y + p.z * p.z;
        // The last step is below what residuals can tell.
        if (!any(moved > 1e-20 * (1.0 + size))) return p;
    }
    measure(g, p);
    return p;
}

#include "triangulate_robust.inl"
