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
                                 splat(lane(s.xx, lane_index)), splat(lane(s.xy, lane_index)),
                                 splat(lane(s.yy, lane_index)), splat(lane(s.score, lane_index))};
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
    if (count < 2) return count;
    std::nth_element(ordered, ordered + (count + 1) / 2, ordered + count);
    *typical2 = ordered[(count + 1) / 2];
    return count;
}

constexpr double kSurePx = 3.0;  // residuals below it are never a reason to look for wrong views
constexpr double kGatePx = 2.0;  // the gate never closes further

// How far from the point a view may be, squared: 2.5 robust standard deviations with a small-sample factor in the form of
// Rousseeuw & Leroy (a circular Gaussian's median radius is 1.177 sigma), at most max_residual_px. Theirs is
// 1 + 5 / (n - 2); with 3, two views of eight that are 12 px wrong leave 1 point in 1000 over 2 mm off instead of 5, at 1 px
// of noise, and 2 good views in 1000 are lost instead of 1. Three views or fewer say nothing about spread.
static inline double gate_residual2(std::int64_t count, double typical2, double max2) {
    if (count < 4) return max2;
    const double factor = 2.5 / 1.177 * (1 + 3.0 / static_cast<double>(count - 2));
    return std::min(std::max(factor * factor * typical2, kGatePx * kGatePx), max2);
}

struct Workspace {
    Group group, hypotheses;
    Bend* bends;
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

// `count` points of one view, one a lane; lanes past the last point get score 0, as do views that are not usable.
static inline void load_sight(const CameraModel& c, const double* points_px, const double* scores, int count,
                              double min_score, Sight* sight, Bend* bend) {
    alignas(64) double u[kLanes], v[kLanes], s[kLanes];
    for (int i = 0; i < kLanes; ++i) {
        const int j = count == kLanes ? i : std::min(i, count - 1);
        u[i] = points_px[2 * j], v[i] = points_px[2 * j + 1];
        s[i] = i < count ? scores[j] : 0;
    }
    const Lanes x = load_lanes(u), y = load_lanes(v), score = load_lanes(s), spread = (x - x) + (y - y) + (score - score);
    const LaneMask usable = (spread == 0.0) & (score > 0.0) & (score >= min_score);  // NaN and inf: spread is NaN
    start_undistorting(c, select(usable, x, splat(c.cx)), select(usable, y, splat(c.cy)),
                       select(usable, score, splat(0.0)), sight, bend);
}

struct TriangulateOutput {
    double *points_mm, *residual_px;
    std::int64_t* views_used;
    std::uint8_t* used;
    std::int64_t count;  // N: the step from one view's masks to the next
};

// The `size` points of a group, from point `at` on.
static inline void write_group(const Group& g, const Point3& p, std::int64_t at, int size, const TriangulateOutput& out) {
    Lanes sum = splat(0.0), weight = splat(0.0), number = splat(0.0);
    for (std::int64_t v = 0; v < g.views; ++v) {
        const Lanes w = g.weights[v];
        sum += select(w > 0.0, w * g.residuals2[v], splat(0.0));
        weight += w;
        number += select(w > 0.0, splat(1.0), splat(0.0));
    }
    const Lanes mean2 = sum / weight, lost = (mean2 - mean2) + (p.x - p.x) + (p.y - p.y) + (p.z - p.z);
    const LaneMask found = (number >= 2.0) & (lost == 0.0);
    const Lanes nan = splat(std::numeric_limits<double>::quiet_NaN());
    const Lanes residual = root(select(found, mean2, nan)), x = select(found, p.x, nan), y = select(found, p.y, nan),
                z = select(found, p.z, nan), views = select(found, number, splat(0.0));
    for (int i = 0; i < size; ++i) {
        double* point = out.points_mm + 3 * (at + i);
        point[0] = lane(x, i), point[1] = lane(y, i), point[2] = lane(z, i);
        out.residual_px[at + i] = lane(residual, i);
        out.views_used[at + i] = static_cast<std::int64_t>(lane(views, i));
    }
    for (std::int64_t v = 0; v < g.views; ++v) {
        std::uint8_t used[kLanes];
        store_mask(used, found & (g.weights[v] > 0.0));
        std::memcpy(out.used + v * out.count + at, used, static_cast<std::size_t>(size));
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
    work.bends = reinterpret_cast<Bend*>(bytes);
    work.usable = reinterpret_cast<std::int64_t*>(work.bends + views);
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
            load_sight(cameras[v], points_px + 2 * at, scores + at, size, options.min_score, work.group.sights + v,
                       work.bends + v);
        }
        undistort(cameras, views, work.bends, work.group.sights);
        const Point3 p = robust_fit(&work, options);
        write_group(work.group, p, start, size, out);
    }
}
