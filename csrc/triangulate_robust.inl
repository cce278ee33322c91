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

// Uses the views within the gate, fits, and repeats until the choice holds. After two rounds views only leave, so it
// ends. Lanes outside `doubtful` keep their views.
static inline Point3 regroup(const Group& g, LaneMask doubtful, double gate2, Point3 p) {
    measure(g, p);
    for (int round = 0; round < kMaxRegroups; ++round) {
        bool changed = false;
        for (std::int64_t v = 0; v < g.views; ++v) {
            const Lanes pool = round < 2 ? g.sights[v].score : g.weights[v];
            const Lanes agreeing = select(g.residuals2[v] <= gate2, pool, splat(0.0));
            const Lanes weight = select(doubtful, agreeing, g.weights[v]);
            changed |= any(weight != g.weights[v]);
            g.weights[v] = weight;
        }
        if (!changed) break;
        p = refine(g, p);
        measure(g, p);
    }
    return p;
}

struct Workspace {
    Group group, hypotheses;
    std::int64_t* usable;
};

static inline Point3 robust_fit(Workspace* work, const TriangulateOptions& options) {
    const Group& g = work->group;
    for (std::int64_t v = 0; v < g.views; ++v) g.weights[v] = g.sights[v].score;
    Point3 p = refine(g, linear_fit(g));
    measure(g, p);
    if (!options.reject) return p;
    const double gate2 = options.max_residual_px * options.max_residual_px;
    Lanes agreeing = splat(0.0), usable = splat(0.0);
    for (std::int64_t v = 0; v < g.views; ++v) {
        const Lanes one = select(g.sights[v].score > 0.0, splat(1.0), splat(0.0));
        usable += one;
        agreeing += select(g.residuals2[v] <= gate2, one, splat(0.0));
    }
    const LaneMask doubtful = agreeing < usable;
    if (!any(doubtful)) return p;
    for (int i = 0; i < kLanes; ++i) {
        if (lane(agreeing, i) < lane(usable, i)) {
            search_pairs(g, i, &work->hypotheses, work->usable, 0.25 * gate2, &p);
        }
    }
    return regroup(g, doubtful, gate2, p);
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
