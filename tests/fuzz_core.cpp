// Fuzz target for the pure C++ core: random shapes, bit patterns, cameras and options at every SIMD level, with buffers
// of exactly the right size so that AddressSanitizer sees any step past them. Usage: fuzz_core [inputs] [seed].
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include "crop.hpp"
#include "decode.hpp"
#include "draw.hpp"
#include "fit.hpp"
#include "project.hpp"
#include "simd_level.hpp"
#include "triangulate.hpp"

using namespace rt_hands;

namespace {

std::mt19937_64 generator;

int pick(int from, int to) { return std::uniform_int_distribution<int>(from, to)(generator); }

// Mostly sensible numbers, sometimes any bit pattern at all, sometimes the nasty ones.
double number(double scale) {
    const double nasty[] = {0.0, -0.0, 1e-320, 1e308, -1e308, std::nan(""), HUGE_VAL, -HUGE_VAL};
    const int kind = pick(0, 15);
    if (kind == 0) return nasty[pick(0, 7)];
    if (kind == 1) {
        const std::uint64_t bits = generator();
        double value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
    return std::normal_distribution<double>(0, scale)(generator);
}

float single(double scale) {
    const double value = number(scale);
    return std::fabs(value) > 3e38 && std::isfinite(value) ? 3e38f : static_cast<float>(value);
}

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

// On the heap and no longer than asked for: a vector may keep spare room behind its end.
template <class T>
struct Exact {
    std::unique_ptr<T[]> at;
    std::size_t size;
    explicit Exact(std::size_t count) : at(new T[count]()), size(count) {}
};

CameraModel random_camera(bool wild) {
    CameraModel c{};
    c.fx = wild ? std::fabs(number(1e3)) + 1e-3 : 1000, c.fy = 1010, c.cx = 640, c.cy = 360;
    double* terms[] = {&c.k1, &c.k2, &c.p1, &c.p2, &c.k3};
    for (double* term : terms) *term = pick(0, 2) ? std::normal_distribution<double>(0, 0.2)(generator) : 0;
    const double angle = std::uniform_real_distribution<double>(0, 6.28)(generator);
    const double rotation[9] = {std::cos(angle), 0, std::sin(angle), 0, 1, 0, -std::sin(angle), 0, std::cos(angle)};
    for (int i = 0; i < 9; ++i) c.rotation[i] = wild && pick(0, 3) == 0 ? number(1) : rotation[i];
    c.translation_mm[2] = wild ? number(1e3) : 1000;
    c.width_px = 1280, c.height_px = 720;
    c.r2_limit = fold_radius2(c.k1, c.k2, c.k3);
    if (!std::isfinite(c.fx)) c.fx = 1;
    for (double& value : c.rotation) value = std::isfinite(value) ? value : 1;  // the binding refuses the rest
    for (double& value : c.translation_mm) value = std::isfinite(value) ? value : 1;
    return c;
}

Exact<CameraModel> random_cameras(int count) {
    Exact<CameraModel> cameras(static_cast<std::size_t>(count));
    const bool wild = pick(0, 3) == 0;
    for (int i = 0; i < count; ++i) cameras.at[i] = random_camera(wild);
    return cameras;
}

// One or two crops, mostly near their picture, of pictures whose rows lie apart or run upwards.
void fuzz_crop() {
    const int count = pick(0, 2), side = pick(0, 9) ? pick(0, 20) : pick(60, 140);
    const int height = pick(0, 15) ? pick(1, 30) : 0, width = pick(0, 15) ? pick(1, 30) : 0, gap = pick(0, 2) * 5;
    const std::ptrdiff_t row_bytes = 3 * width + gap;
    const bool upwards = pick(0, 3) == 0 && height > 0;
    const std::size_t bytes = height && width ? static_cast<std::size_t>((height - 1) * row_bytes + 3 * width) : 0;
    Exact<std::uint8_t> picture(bytes);
    for (std::size_t i = 0; i < bytes; ++i) picture.at[i] = static_cast<std::uint8_t>(generator());
    Exact<CropJob> jobs(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        CropJob& job = jobs.at[i];
        job = {picture.at.get() + (upwards ? (height - 1) * row_bytes : 0), width, height, upwards ? -row_bytes : row_bytes, {}};
        const double zoom = pick(0, 1) ? 1 : std::exp(number(2)), angle = number(3);
        const double near[6] = {zoom * std::cos(angle), -zoom * std::sin(angle), number(10),
                                zoom * std::sin(angle), zoom * std::cos(angle), number(10)};
        for (int j = 0; j < 6; ++j) job.picture_from_input[j] = std::isfinite(near[j]) ? near[j] : 1;
        if (pick(0, 7) == 0) {
            const double wild = number(100);
            job.picture_from_input[pick(0, 5)] = std::isfinite(wild) ? wild : 0;
        }
    }
    Exact<float> out(static_cast<std::size_t>(count) * 3 * side * side);
    crop_rgb(jobs.at.get(), count, side, out.at.get());
    for (std::size_t i = 0; i < out.size; ++i) require(out.at[i] >= 0 && out.at[i] <= 1.0001f, "colours lie in 0..1");
}

void fuzz_draw() {
    const int count = pick(0, 12), height = pick(0, 40), width = pick(0, 40), gap = pick(0, 2) * 5;
    const std::ptrdiff_t row_bytes = 3 * width + gap;
    const std::size_t bytes = height && width ? static_cast<std::size_t>((height - 1) * row_bytes + 3 * width) : 0;
    Exact<std::uint8_t> picture(bytes), colours(3 * static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < colours.size; ++i) colours.at[i] = static_cast<std::uint8_t>(200 + generator() % 56);
    Exact<float> strokes(5 * static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < strokes.size; ++i) strokes.at[i] = single(pick(0, 3) ? 20 : 1000);
    draw_strokes({picture.at.get(), width, height, row_bytes}, strokes.at.get(), colours.at.get(), count);
    for (int y = 0; y < height && bytes; ++y) {
        const std::uint8_t* gap_at = picture.at.get() + y * row_bytes + 3 * width;
        for (int i = 0; i < gap && y < height - 1; ++i) require(gap_at[i] == 0, "nothing is drawn beside the rows");
    }
}

void fuzz_decode() {
    const int item[] = {4, 2, 1};
    const int type = pick(0, 2), batch = pick(0, 2), maps = pick(0, 3);
    const int height = pick(0, 9) ? pick(1, 24) : pick(1, 200), width = pick(0, 9) ? pick(1, 24) : pick(1, 200);
    const int offset = pick(0, 7), gap = pick(0, 2) * item[type] * pick(0, 5);  // unaligned, maps apart
    const auto map_bytes = static_cast<std::size_t>(height) * width * item[type];
    const std::size_t stride = map_bytes + static_cast<std::size_t>(gap);
    const auto count = static_cast<std::size_t>(batch) * maps;
    Exact<unsigned char> data(static_cast<std::size_t>(offset) + (count ? (count - 1) * stride + map_bytes : 0));
    const int style = pick(0, 3);
    for (std::size_t i = 0; i < data.size; ++i) {
        data.at[i] = static_cast<unsigned char>(style == 0 ? generator() : style == 1 ? 0 : generator() & 0x3f);
    }
    Exact<double> affine(6 * static_cast<std::size_t>(batch));
    for (std::size_t i = 0; i < affine.size; ++i) affine.at[i] = static_cast<double>(i % 6 == 0 || i % 6 == 4);
    Exact<float> points(3 * count);
    const MapBatch input{data.at.get() + offset, static_cast<MapType>(type), batch, maps, height, width,
                         static_cast<std::ptrdiff_t>(stride * static_cast<std::size_t>(maps)),
                         static_cast<std::ptrdiff_t>(stride)};
    decode_heatmaps(input, affine.at.get(), static_cast<PeakMethod>(pick(0, 3)), points.at.get());
    for (std::size_t i = 0; i < count; ++i) {
        const float *p = points.at.get() + 3 * i, x = p[0], y = p[1];
        const bool absent = std::isnan(x) && std::isnan(y) && p[2] == 0;
        const bool present = p[2] > 0 && x >= 0 && x <= static_cast<float>(width) && y >= 0 &&
                             y <= static_cast<float>(height);
        require(absent || present, "a decoded point lies in its map or is absent");
    }
    if (data.size) read_floor(data.at.get(), data.size);
}

void fuzz_project() {
    const int count = pick(0, 3) ? pick(0, 20) : pick(0, 400), views = pick(0, 4);
    const Exact<CameraModel> cameras = random_cameras(views);
    const auto total = static_cast<std::size_t>(count) * views;
    Exact<std::uint8_t> in_front(total), inside(total);
    if (pick(0, 1)) {
        Exact<float> points(3 * static_cast<std::size_t>(count)), pixels(2 * total);
        // Half of the clouds are hands, which float32 may project about their middle; the rest are anything.
        std::normal_distribution<float> hand(0, 40);
        const bool narrow = pick(0, 1);
        for (std::size_t i = 0; i < points.size; ++i) points.at[i] = narrow ? hand(generator) : single(300);
        if (narrow && pick(0, 7) == 0 && points.size) points.at[generator() % points.size] = single(300);
        project(points.at.get(), count, cameras.at.get(), views, pixels.at.get(), in_front.at.get(), inside.at.get());
    } else {
        Exact<double> points(3 * static_cast<std::size_t>(count)), pixels(2 * total);
        for (std::size_t i = 0; i < points.size; ++i) points.at[i] = number(300);
        project(points.at.get(), count, cameras.at.get(), views, pixels.at.get(), in_front.at.get(), inside.at.get());
    }
    for (std::size_t i = 0; i < total; ++i) {
        require(in_front.at[i] <= 1 && inside.at[i] <= in_front.at[i], "inside means in front");
    }
}

void fuzz_triangulate() {
    const int count = pick(0, 12), views = pick(0, 19) ? pick(0, 6) : pick(0, 40);
    const Exact<CameraModel> cameras = random_cameras(views);
    const auto total = static_cast<std::size_t>(count) * views;
    Exact<double> pixels(2 * total), scores(total), points(3 * static_cast<std::size_t>(count));
    Exact<double> residual(static_cast<std::size_t>(count));
    Exact<std::int64_t> number_used(static_cast<std::size_t>(count));
    Exact<std::uint8_t> used(total);
    for (std::size_t i = 0; i < pixels.size; ++i) pixels.at[i] = 500 + number(300);
    for (std::size_t i = 0; i < total; ++i) scores.at[i] = pick(0, 4) ? 0.5 : number(1);
    const TriangulateOptions options{pick(0, 1) * 0.3, pick(0, 5) ? 10.0 : std::fabs(number(10)), pick(0, 3) > 0};
    triangulate(pixels.at.get(), scores.at.get(), count, cameras.at.get(), views, options, points.at.get(),
                residual.at.get(), number_used.at.get(), used.at.get());
    for (int i = 0; i < count; ++i) {
        std::int64_t sum = 0;
        for (int v = 0; v < views; ++v) sum += used.at[static_cast<std::size_t>(v) * count + i];
        const double* p = points.at.get() + 3 * i;
        const bool finite = std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]);
        const bool absent = std::isnan(p[0]) && std::isnan(p[1]) && std::isnan(p[2]);
        require(sum == number_used.at[i], "the mask counts the views used");
        require(sum >= 2 ? finite : sum == 0 && absent, "a point comes from two views or is absent");
    }
}

// Any readings of any hands in any shape: what comes out is a hand or NaN, and no step leaves a buffer.
void fuzz_fit() {
    const int views = pick(0, 4), hands = pick(0, 3), palms = pick(0, 6);
    const std::size_t seen = static_cast<std::size_t>(views * hands * kJoints);
    Exact<double> pixels(2 * seen), weights(seen), noise(hands), bones(hands * kBones), start(hands * kFree), apart(seen);
    Exact<double> mean(kFree), precision(kFree * kFree), lengths(kBones), palm(3 * palms);
    Exact<std::int64_t> pairs(2 * kBones), palm_joints(palms);
    Exact<std::uint8_t> mirrored(hands);
    Exact<CameraModel> cameras(views);
    for (int v = 0; v < views; ++v) cameras.at[v] = random_camera(pick(0, 3) == 0);
    for (std::size_t i = 0; i < pixels.size; ++i) pixels.at[i] = number(300);
    for (std::size_t i = 0; i < seen; ++i) weights.at[i] = pick(0, 3) ? std::fabs(number(1)) : 0;
    for (int h = 0; h < hands; ++h) noise.at[h] = std::fabs(number(3)), mirrored.at[h] = pick(0, 1);
    for (std::size_t i = 0; i < bones.size; ++i) bones.at[i] = pick(0, 1) ? std::fabs(number(40)) : std::nan("");
    for (std::size_t i = 0; i < start.size; ++i) start.at[i] = number(60);
    for (int i = 0; i < kFree; ++i) mean.at[i] = number(0.5), precision.at[i * (kFree + 1)] = pick(0, 20) ? 100 : number(1);
    for (int i = 0; i < kBones; ++i) {
        lengths.at[i] = std::fabs(number(0.4)), pairs.at[2 * i] = pick(0, 20), pairs.at[2 * i + 1] = pick(0, 20);
    }
    for (int i = 0; i < palms; ++i) palm_joints.at[i] = pick(0, 20);
    for (std::size_t i = 0; i < palm.size; ++i) palm.at[i] = number(0.5);
    const FitInput input{pixels.at.get(), weights.at.get(), noise.at.get(), bones.at.get(), mirrored.at.get(), hands};
    const HandModel model{mean.at.get(),  precision.at.get(),   lengths.at.get(), palm.at.get(),
                          pairs.at.get(), palm_joints.at.get(), palms};
    const FitOptions options{pick(0, 6), 0.003, std::fabs(number(0.3)), std::fabs(number(1)), 0.1, 0.04, 3, 1e-3, 15};
    fit_hands(input, model, cameras.at.get(), views, options, start.at.get(), apart.at.get());
    for (int h = 0; h < hands; ++h) {
        const bool absent = std::isnan(start.at[h * kFree]);
        for (int i = 0; i < kFree && absent; ++i) require(std::isnan(start.at[h * kFree + i]), "a hand is absent as a whole");
    }
}

}  // namespace

int main(int count, char** arguments) {
    const long inputs = count > 1 ? std::atol(arguments[1]) : 100000;
    generator.seed(count > 2 ? static_cast<std::uint64_t>(std::atoll(arguments[2])) : 1);
    const auto levels = available_simd_levels();
    for (long i = 0; i < inputs; ++i) {
        set_simd_level(levels[static_cast<std::size_t>(i) % levels.size()]);
        switch (pick(0, 5)) {
            case 5: fuzz_fit(); break;
            case 0: fuzz_decode(); break;
            case 2: fuzz_crop(); break;
            case 3: fuzz_draw(); break;
            case 1: fuzz_project(); break;
            default: fuzz_triangulate();
        }
    }
    std::printf("%ld inputs over %zu SIMD levels, no complaint\n", inputs, levels.size());
}
