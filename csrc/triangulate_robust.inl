// Which views agree: hypotheses from pairs of views, then fits to the views that stay within the gate.

// The n-th pair (a < b) of `count` things, in lexicographic order.
static inline void nth_pair(std::int64_t n, std::int64_t count, std::int64_t* a, std::int64_t* b) {
    std::int64_t first = 0;
    while (n >= count - 1 - first) n -= count - 1 - first++;
    *a = first;
    *b = first + 1 + n;
}

// Copies one lane of `group` to every lane of `hypotheses`; returns how many views are usable and which.
static inline std::int64_t spread_lane(const Group& group, int lane_index, Group* hypotheses, std::int64_t* usable) {
    std::int64_t count = 0;
    for (std::int64_t v = 0; v < group.views; ++v) {
        const Sight& s = group.sights[v];
        hypotheses->sights[v] = {splat(lane(s.x, lane_index)),  splat(lane(s.y, lane_index)),
                                 splat(lane(s.ux, lane_index)), splat(lane(s.uy, lane_index)),
                                 splat(lane(s.vx, lane_index)), splat(lane(s.vy, lane_index)),
                                 splat(lane(s.score, lane_index))};
        if (lane(s.score, lane_index) > 0) usable[count++] = v;
    }
    return count;
}

// Geman-McClure: a view counts 0 when it agrees and its score when it is far off, so a few wrong views cannot outvote.
static inline Lanes disagreement(const Group& g, double scale2) {
    Lanes cost = splat(0.0);
    for (std::int64_t v = 0; v < g.views; ++v) {
        const Lanes r2 = g.residuals2[v];
        cost += g.sights[v].score * select(r2 < 1e30, r2 / (r2 + scale2), splat(1.0));
    }
    return cost;
}

// The point, from a pair of views, that the other views contradict least. Lane `lane_index` of `best` is set.
// More than kMaxPairs pairs: an even, fixed selection of them, so that answers repeat.
static inline void search_pairs(const Group& group, int lane_index, Group* hypotheses, std::int64_t* usable,
                                double scale2, Point3* best) {
    const std::int64_t count = spread_lane(group, lane_index, hypotheses, usable);
    const std::int64_t pairs = count * (count - 1) / 2, tried = std::min<std::int64_t>(pairs, kMaxPairs);
    double lowest = std::numeric_limits<double>::infinity();
    for (std::int64_t first = 0; first < tried; first += kLanes) {
        for (std::int64_t v = 0; v < group.views; ++v) hypotheses->weights[v] = splat(0.0);
        for (int i = 0; i < kLanes; ++i) {
            std::int64_t a, b;
            nth_pair(std::min(first + i, tried - 1) * pairs / tried, count, &a, &b);
            set_lane(&hypotheses->weights[usable[a]], i, 1.0);
            set_lane(&hypotheses->weights[usable[b]], i, 1.0);
        }
        const Point3 p = linear_fit(*hypotheses);
        measure(*hypotheses, p);
        const Lanes cost = disagreement(*hypotheses, scale2);
        for (int i = 0; i < kLanes; ++i) {
            if (!(lane(cost, i) < lowest)) continue;
            lowest = lane(cost, i);
            set_lane(&best->x, lane_index, lane(p.x, i));
            set_lane(&best->y, lane_index, lane(p.y, i));
            set_lane(&best->z, lane_index, lane(p.z, i));
        }
    }
}

// Squared residual that just over half of the usable views stay within, and how many are usable. The rank is that of
// least median of squares for hypotheses of two views (Rousseeuw & Leroy, Robust Regression, 1987).
static inline std::int64_t typical_residual2(const Group& g, int lane_index, double* ordered, double* typical2) {
    std::int64_t count = 0;
    for (std::int64_t v = 0; v < g.views; ++v) {
        if (!(lane(g.sights[v].score, lane_index) > 0)) continue;
        const double r2 = lane(g.residuals2[v], lane_index);
        ordered[count++] = r2 == r2 ? r2 : std::numeric_limits<double>::infinity();
    }
    if (count == 0) return 0;
    std::nth_element(ordered, ordered + (count + 1) / 2, ordered + count);
    *typical2 = ordered[(count + 1) / 2];
    return count;
}

constexpr double kSurePx = 3.0;  // residuals below it are never a reason to look for wrong views
constexpr double kGatePx = 2.0;  // the gate never closes further

// How far from the point a view may be, squared: 2.5 robust standard deviations with the small-sample factor of
// Rousseeuw & Leroy (a circular Gaussian's median radius is 1.177 sigma), at most max_residual_px. Three views or fewer
// say nothing about spread.
static inline double gate_residual2(std::int64_t count, double typical2, double max2) {
    if (count < 4) return max2;
    const double factor = 2.5 / 1.177 * (1 + 5.0 / static_cast<double>(count - 2));
    return std::min(std::max(factor * factor * typical2, kGatePx * kGatePx), max2);
}

struct Workspace {
    Group group, hypotheses;
    std::int64_t* usable;
    double* ordered;
};

// Uses the views within the gate, fits, and repeats until the choice holds. After two rounds views only leave and the
// gate is kept, so it ends. Lanes that are not doubtful keep their views.
static inline Point3 regroup(const Workspace& work, LaneMask doubtful, double max2, Point3 p) {
    const Group& g = work.group;
    Lanes gate2 = splat(max2);
    measure(g, p);
    for (int round = 0; round < kMaxRegroups; ++round) {
        for (int i = 0; i < kLanes && round < 2; ++i) {
            double typical2 = max2;
            const std::int64_t count = typical_residual2(g, i, work.ordered, &typical2);
            set_lane(&gate2, i, gate_residual2(count, typical2, max2));
        }
        bool changed = false;
        for (std::int64_t v = 0; v < g.views; ++v) {
            const Lanes pool = round < 2 ? g.sights[v].score : g.weights[v];
            const Lanes agreeing = select(g.residuals2[v] <= gate2, pool, splat(0.0));
            const Lanes weight = select(doubtful, agreeing, g.weights[v]);
            changed |= any(weight != g.weights[v]);
            g.weights[v] = weight;
        }
        // The first round fits even when every view agrees: p came from two of them only.
        if (!changed && round > 0) break;
        p = refine(g, p);
        measure(g, p);
    }
    return p;
}

// Largest squared residual of the usable views, lane by lane; inf where the point is not finite.
static inline Lanes worst_residual2(const Group& g) {
    Lanes worst = splat(0.0);
    for (std::int64_t v = 0; v < g.views; ++v) {
        const Lanes r2 = select(g.residuals2[v] >= 0.0, g.residuals2[v], splat(std::numeric_limits<double>::infinity()));
        const Lanes counted = select(g.sights[v].score > 0.0, r2, splat(0.0));
        worst = select(counted > worst, counted, worst);
    }
    return worst;
}

static inline Point3 robust_fit(Workspace* work, const TriangulateOptions& options) {
    const Group& g = work->group;
    for (std::int64_t v = 0; v < g.views; ++v) g.weights[v] = g.sights[v].score;
    Point3 p = refine(g, linear_fit(g));
    measure(g, p);
    if (!options.reject) return p;
    const double max2 = options.max_residual_px * options.max_residual_px, sure2 = std::min(kSurePx * kSurePx, max2);
    const Lanes worst = worst_residual2(g);
    if (!any(worst > sure2)) return p;
    Lanes doubtful = splat(0.0);
    for (int i = 0; i < kLanes; ++i) {
        if (!(lane(worst, i) > sure2)) continue;
        double typical2 = max2;
        const std::int64_t count = typical_residual2(g, i, work->ordered, &typical2);
        if (lane(worst, i) <= max2 && count < 4) continue;
        const double scale2 = std::min(std::max(typical2, kGatePx * kGatePx), 0.25 * max2);
        search_pairs(g, i, &work->hypotheses, work->usable, scale2, &p);
        set_lane(&doubtful, i, 1.0);
    }
    return any(doubtful > 0.0) ? regroup(*work, doubtful > 0.0, max2, p) : p;
}

static inline Sight load_sight(const CameraModel& c, const double* points_px, const double* scores, int count,
                               double min_score) {
    alignas(64) double u[kLanes], v[kLanes], score[kLanes];
    for (int i = 0; i < kLanes; ++i) {
        const int j = std::min(i, count - 1);
        const bool usable = std::isfinite(points_px[2 * j]) && std::isfinite(points_px[2 * j + 1]) &&
                            std::isfinite(scores[j]) && scores[j] > 0 && scores[j] >= min_score && i < count;
        u[i] = usable ? points_px[2 * j] : c.cx;
        v[i] = usable ? points_px[2 * j + 1] : c.cy;
        score[i] = usable ? scores[j] : 0;
    }
    return undistorted_sight(c, load_lanes(u), load_lanes(v), load_lanes(score));
}

struct TriangulateOutput {
    double *points_mm, *residual_px;
    std::int64_t* views_used;
    std::uint8_t* used;
    std::int64_t count;  // N: the step from one view's masks to the next
};

static inline void write_point(const Group& g, const Point3& p, int i, const TriangulateOutput& out, std::int64_t at) {
    double sum = 0, weight = 0;
    std::int64_t number = 0;
    for (std::int64_t v = 0; v < g.views; ++v) {
        const double w = lane(g.weights[v], i);
        out.used[v * out.count + at] = w > 0;
        if (!(w > 0)) continue;
        sum += w * lane(g.residuals2[v], i);
        weight += w;
        ++number;
    }
    const double residual = std::sqrt(sum / weight), x = lane(p.x, i), y = lane(p.y, i), z = lane(p.z, i);
    const bool found = number >= 2 && std::isfinite(residual) && std::isfinite(x + y + z);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    out.points_mm[3 * at] = found ? x : nan;
    out.points_mm[3 * at + 1] = found ? y : nan;
    out.points_mm[3 * at + 2] = found ? z : nan;
    out.residual_px[at] = found ? residual : nan;
    out.views_used[at] = found ? number : 0;
    if (!found) {
        for (std::int64_t v = 0; v < g.views; ++v) out.used[v * out.count + at] = 0;
    }
}

// Memory for one group and its hypotheses, cut from `bytes` (kernels.cpp says how many).
static inline Workspace make_workspace(const CameraModel* cameras, std::int64_t views, unsigned char* bytes) {
    auto address = reinterpret_cast<std::uintptr_t>(bytes);
    bytes += (64 - address % 64) % 64;
    Workspace work;
    for (Group* g : {&work.group, &work.hypotheses}) {
        g->cameras = cameras;
        g->views = views;
        g->sights = reinterpret_cast<Sight*>(bytes);
        g->weights = reinterpret_cast<Lanes*>(g->sights + views);
        g->residuals2 = g->weights + views;
        bytes = reinterpret_cast<unsigned char*>(g->residuals2 + views);
    }
    work.usable = reinterpret_cast<std::int64_t*>(bytes);
    work.ordered = reinterpret_cast<double*>(work.usable + views);
    return work;
}

static void triangulate(const double* points_px, const double* scores, std::int64_t count, const CameraModel* cameras,
                        std::int64_t views, const TriangulateOptions& options, unsigned char* workspace,
                        double* points_mm, double* residual_px, std::int64_t* views_used, std::uint8_t* used) {
    Workspace work = make_workspace(cameras, views, workspace);
    const TriangulateOutput out{points_mm, residual_px, views_used, used, count};
    for (std::int64_t start = 0; start < count; start += kLanes) {
        const int size = static_cast<int>(std::min<std::int64_t>(kLanes, count - start));
        for (std::int64_t v = 0; v < views; ++v) {
            const std::int64_t at = v * count + start;
            work.group.sights[v] = load_sight(cameras[v], points_px + 2 * at, scores + at, size, options.min_score);
        }
        const Point3 p = robust_fit(&work, options);
        for (int i = 0; i < size; ++i) write_point(work.group, p, i, out, start + i);
    }
}
