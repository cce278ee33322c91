// One hand's joints by Gauss and Newton's method in its canonical frame: 63 unknowns, normal equations, Cholesky.

struct Equations {
    double matrix[kFree * kFree];  // upper triangle, row-major
    double right[kFree];
};

// Canonical axes in the world: world = origin + basis * joint; a left hand's frame is that of its mirror image.
struct HandAxes {
    double origin[3], basis[9], scale_mm;
    bool there;
};

static inline HandAxes hand_axes(const double* world_mm, const HandModel& model, const FitOptions& options, bool mirrored) {
    double palm[3 * kJoints];
    const double sign = mirrored ? -1 : 1;
    for (std::int64_t i = 0; i < model.palms; ++i) {
        const double* p = world_mm + 3 * model.palm_joints[i];
        palm[3 * i] = sign * p[0], palm[3 * i + 1] = p[1], palm[3 * i + 2] = p[2];
    }
    const PalmFrame frame = palm_frame(palm, model.palm_template, model.palms);
    HandAxes axes{};
    axes.scale_mm = frame.scale_mm;
    axes.there = frame.joints >= options.least_palm_joints && frame.spread > options.least_spread &&
                 frame.scale_mm >= options.least_scale_mm && frame.scale_mm < 1e300;
    for (int r = 0; r < 3; ++r) {
        const double row = r == 0 ? sign : 1;
        axes.origin[r] = row * frame.origin_mm[r];
        for (int c = 0; c < 3; ++c) axes.basis[3 * r + c] = row * frame.scale_mm * frame.rotation[3 * r + c];
    }
    return axes;
}

static inline void to_canonical(const HandAxes& axes, const double* world_mm, double* joints) {
    const double back = 1 / (axes.scale_mm * axes.scale_mm);
    for (int j = 0; j < kJoints; ++j) {
        double from[3];
        for (int r = 0; r < 3; ++r) from[r] = world_mm[3 * j + r] - axes.origin[r];
        for (int c = 0; c < 3; ++c) {
            joints[3 * j + c] =
                back * (axes.basis[c] * from[0] + axes.basis[3 + c] * from[1] + axes.basis[6 + c] * from[2]);
        }
    }
}

static inline void to_world(const HandAxes& axes, const double* joints, double* world_mm) {
    for (int j = 0; j < kJoints; ++j) {
        const double* p = joints + 3 * j;
        for (int r = 0; r < 3; ++r) {
            const double* b = axes.basis + 3 * r;
            world_mm[3 * j + r] = axes.origin[r] + b[0] * p[0] + b[1] * p[1] + b[2] * p[2];
        }
    }
}

// What the views say. drawn_px (V, 21, 2): the joints as they are now.
static inline void add_views(const FitInput& seen, std::int64_t hand, const CameraModel* cameras, std::int64_t views,
                             const FitOptions& options, const HandAxes& axes, const double* world_mm,
                             const double* drawn_px, Equations* equations) {
    const double noise2 = seen.noise_px[hand] * seen.noise_px[hand], reach2 = options.cauchy * options.cauchy;
    for (std::int64_t v = 0; v < views; ++v) {
        const CameraModel& c = cameras[v];
        double turned[9];  // camera axes of canonical ones
        for (int r = 0; r < 3; ++r) {
            for (int k = 0; k < 3; ++k) {
                turned[3 * r + k] = c.rotation[3 * r] * axes.basis[k] + c.rotation[3 * r + 1] * axes.basis[3 + k] +
                                    c.rotation[3 * r + 2] * axes.basis[6 + k];
            }
        }
        const std::int64_t at = (v * seen.hands + hand) * kJoints;
        for (int j = 0; j < kJoints; ++j) {
            const double weight = seen.weights[at + j];
            const double dx = seen.points_px[2 * (at + j)] - drawn_px[2 * (v * kJoints + j)];
            const double dy = seen.points_px[2 * (at + j) + 1] - drawn_px[2 * (v * kJoints + j) + 1];
            const double r2 = dx * dx + dy * dy;
            if (!(weight > 0) || !(r2 < 1e300)) continue;
            const double* p = world_mm + 3 * j;
            double cam[3];
            for (int r = 0; r < 3; ++r) {
                const double* row = c.rotation + 3 * r;
                cam[r] = row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + c.translation_mm[r];
            }
            const double z = cam[2] > 1 ? cam[2] : 1, x = cam[0] / z, y = cam[1] / z;
            const double trusted = weight / (noise2 + weight * r2 / reach2);
            double jx[3], jy[3];
            for (int k = 0; k < 3; ++k) {
                jx[k] = c.fx / z * (turned[k] - x * turned[6 + k]);
                jy[k] = c.fy / z * (turned[3 + k] - y * turned[6 + k]);
            }
            for (int a = 0; a < 3; ++a) {
                double* row = equations->matrix + (3 * j + a) * kFree + 3 * j;
                for (int b = a; b < 3; ++b) row[b] += trusted * (jx[a] * jx[b] + jy[a] * jy[b]);
                equations->right[3 * j + a] += trusted * (jx[a] * dx + jy[a] * dy);
            }
        }
    }
}

// Starts the equations with the shape.
static inline void set_shape(const HandModel& model, const double* joints, Equations* equations) {
    double off[kFree];
    for (int i = 0; i < kFree; ++i) off[i] = model.mean[i] - joints[i], equations->right[i] = 0;
    std::memcpy(equations->matrix, model.precision, sizeof equations->matrix);
    for (int i = 0; i < kFree; ++i) {
        const double* row = model.precision + i * kFree;
        const double by = off[i];
        for (int j = 0; j < kFree; ++j) equations->right[j] += row[j] * by;
    }
}

static inline void add_bones(const FitInput& seen, std::int64_t hand, const HandModel& model, const FitOptions& options,
                             double scale_mm, const double* joints, Equations* equations) {
    for (int i = 0; i < kBones; ++i) {
        const std::int64_t parent = model.pairs[2 * i], child = model.pairs[2 * i + 1];
        const double own = seen.bones_mm[hand * kBones + i] / scale_mm;
        const bool known = own - own == 0;
        const double wanted = known ? own : model.bones[i];
        const double std = wanted * (known ? options.own_bone_std : options.bone_std);
        double along[3], length2 = 0;
        for (int k = 0; k < 3; ++k) {
            along[k] = joints[3 * child + k] - joints[3 * parent + k];
            length2 += along[k] * along[k];
        }
        const double length = std::max(std::sqrt(length2), 1e-6), off = (wanted - length) / std;
        const std::int64_t low = std::min(parent, child), high = std::max(parent, child);
        double pull[3];
        for (int k = 0; k < 3; ++k) pull[k] = along[k] / (length * std);
        for (int a = 0; a < 3; ++a) {
            equations->right[3 * child + a] += pull[a] * off;
            equations->right[3 * parent + a] -= pull[a] * off;
            for (int b = 0; b < 3; ++b) {
                const double both = pull[a] * pull[b];
                equations->matrix[(3 * low + a) * kFree + 3 * low + b] += both;
                equations->matrix[(3 * high + a) * kFree + 3 * high + b] += both;
                equations->matrix[(3 * low + a) * kFree + 3 * high + b] -= both;
            }
        }
    }
}

// The answer of the equations, in place of their right side. False where the matrix is not positive definite.
static inline bool solve(Equations* equations) {
    double *m = equations->matrix, *x = equations->right;
    for (int k = 0; k < kFree; ++k) {
        double* pivot = m + k * kFree;
        if (!(pivot[k] > 0) || !(pivot[k] < 1e300)) return false;
        const double over = 1 / std::sqrt(pivot[k]);
        for (int j = k; j < kFree; ++j) pivot[j] *= over;
        x[k] *= over;
        for (int i = k + 1; i < kFree; ++i) {
            const double by = pivot[i];
            double* row = m + i * kFree;
            for (int j = i; j < kFree; ++j) row[j] -= by * pivot[j];
            x[i] -= by * x[k];
        }
    }
    for (int k = kFree - 1; k >= 0; --k) {
        const double* row = m + k * kFree;
        x[k] /= row[k];
        // Up the column, so that the sums above are done when they are needed.
        for (int i = 0; i < k; ++i) x[i] -= m[i * kFree + k] * x[k];
    }
    return true;
}

// Moves the joints by what was found, no further than the longest step; returns the furthest that a coordinate goes.
static inline double moved(const double* step, double longest, double* joints) {
    double furthest = 0;
    for (int j = 0; j < kJoints; ++j) {
        const double* s = step + 3 * j;
        const double far = std::sqrt(s[0] * s[0] + s[1] * s[1] + s[2] * s[2]);
        const double share = std::min(1.0, longest / std::max(far, 1e-9));
        for (int k = 0; k < 3; ++k) {
            joints[3 * j + k] += share * s[k];
            furthest = std::max(furthest, std::fabs(share * s[k]));
        }
    }
    return furthest;
}

static inline bool is_finite(const double* values, int count) {
    for (int i = 0; i < count; ++i) {
        if (values[i] - values[i] != 0) return false;
    }
    return true;
}

static inline bool fit_hand(const FitInput& seen, std::int64_t hand, const HandModel& model, const CameraModel* cameras,
                            std::int64_t views, const FitOptions& options, double* world_mm, const FitSpace& space) {
    const auto draw = [&] {
        space.project(world_mm, kJoints, cameras, views, space.drawn_px, space.masks, space.masks + views * kJoints);
    };
    HandAxes axes = hand_axes(world_mm, model, options, seen.mirrored[hand] != 0);
    if (!axes.there || !(seen.noise_px[hand] > 0)) return false;
    double joints[kFree];
    to_canonical(axes, world_mm, joints);
    for (int j = 0; j < kJoints; ++j) {
        const double* p = joints + 3 * j;
        if ((p[0] - p[0]) + (p[1] - p[1]) + (p[2] - p[2]) == 0) continue;
        for (int k = 0; k < 3; ++k) joints[3 * j + k] = model.mean[3 * j + k];
    }
    to_world(axes, joints, world_mm);
    Equations equations;
    for (std::int64_t step = 0; step < options.steps; ++step) {
        axes = hand_axes(world_mm, model, options, seen.mirrored[hand] != 0);
        if (!axes.there) return false;
        to_canonical(axes, world_mm, joints);
        draw();
        set_shape(model, joints, &equations);
        add_views(seen, hand, cameras, views, options, axes, world_mm, space.drawn_px, &equations);
        add_bones(seen, hand, model, options, axes.scale_mm, joints, &equations);
        if (!solve(&equations)) return false;
        const double furthest = moved(equations.right, options.longest_step, joints);
        to_world(axes, joints, world_mm);
        if (!(furthest > options.arrived)) break;
    }
    if (!is_finite(world_mm, kFree)) return false;  // of numbers that overflow
    draw();
    return true;
}

static void fit_hands(const FitInput& seen, const HandModel& model, const CameraModel* cameras, std::int64_t views,
                      const FitOptions& options, const FitSpace& space, double* world_mm, double* apart_px) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (std::int64_t hand = 0; hand < seen.hands; ++hand) {
        double* world = world_mm + hand * kFree;
        const bool there = fit_hand(seen, hand, model, cameras, views, options, world, space);
        if (!there) std::fill(world, world + kFree, nan);
        for (std::int64_t v = 0; v < views; ++v) {
            for (int j = 0; j < kJoints; ++j) {
                const std::int64_t at = (v * seen.hands + hand) * kJoints + j, drawn = v * kJoints + j;
                const double dx = seen.points_px[2 * at] - space.drawn_px[2 * drawn];
                const double dy = seen.points_px[2 * at + 1] - space.drawn_px[2 * drawn + 1];
                apart_px[at] = there && seen.weights[at] > 0 ? std::sqrt(dx * dx + dy * dy) : nan;
            }
        }
    }
}
