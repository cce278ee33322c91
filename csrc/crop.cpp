#include "crop.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "crop_grid.hpp"
#include "kernels.hpp"

namespace rt_hands {
namespace {

constexpr std::int64_t kLargestBlock = 128;  // 128 bytes summed fit 16 bits

// How wide an input pixel is in the picture.
double zoom_of(const double* m) { return std::sqrt(std::fabs(m[0] * m[4] - m[1] * m[3])); }

// Doubled while an input pixel is over four blocks wide: its taps lie at most two apart.
std::int64_t block_of(double zoom) {
    std::int64_t block = 1;
    while (zoom > 4.0 * static_cast<double>(block) && block < kLargestBlock) block *= 2;
    return block;
}

// First and last block, along one axis, that a crop can read: where its corners lie, and two blocks more on each side.
// coefficients: a u + b v + c.
void visible(double a, double b, double c, std::int64_t side, std::int64_t block, std::int64_t length,
             std::int64_t* first, std::int64_t* count) {
    const auto far = static_cast<double>(side - 1), size = static_cast<double>(block);
    const double low = c + std::min(a * far, 0.0) + std::min(b * far, 0.0);
    const double high = c + std::max(a * far, 0.0) + std::max(b * far, 0.0);
    const std::int64_t last = (length - 1) / block;
    const auto within = [&](double at, double margin) {
        const double number = std::floor(at / size) + margin;
        return number > 0 ? (number < static_cast<double>(last) ? static_cast<std::int64_t>(number) : last)
                          : std::int64_t{0};
    };
    *first = within(low, -2);
    *count = within(high, 2) - *first + 1;
}

CropGrid grid_over(const CropJob& job, std::int64_t block, std::int64_t column0, std::int64_t row0) {
    CropGrid grid{};
    const auto size = static_cast<double>(block);
    const double* m = job.picture_from_input;
    const double origin_x = static_cast<double>(column0), origin_y = static_cast<double>(row0);
    const double rows[6] = {m[0] / size, m[1] / size, (m[2] + 0.5) / size - 0.5 - origin_x,
                            m[3] / size, m[4] / size, (m[5] + 0.5) / size - 0.5 - origin_y};
    std::copy(rows, rows + 6, grid.grid_from_input);
    grid.left = static_cast<float>(-0.5 - origin_x);
    grid.right = static_cast<float>(static_cast<double>(job.width) / size - 0.5 - origin_x);
    grid.top = static_cast<float>(-0.5 - origin_y);
    grid.bottom = static_cast<float>(static_cast<double>(job.height) / size - 0.5 - origin_y);
    return grid;
}

struct Workspace {
    std::vector<std::uint16_t> sums;
    std::vector<std::uint8_t> means;
};

// Means of the blocks that a crop sees, as a picture of their own.
CropGrid blocks_of(const CropJob& job, std::int64_t block, std::int64_t side, Workspace* work) {
    const double* m = job.picture_from_input;
    CropBlocks blocks{job.bgr, job.width, job.height, job.row_bytes, block, 0, 0, 0, 0};
    std::int64_t column0 = 0, row0 = 0;
    visible(m[0], m[1], m[2], side, block, job.width, &column0, &blocks.columns);
    visible(m[3], m[4], m[5], side, block, job.height, &row0, &blocks.rows);
    const bool alone = blocks.columns == 1;
    if (alone) blocks.columns = 2;  // sampling reads pairs
    blocks.x0 = column0 * block, blocks.y0 = row0 * block;
    work->sums.resize(static_cast<std::size_t>(3 * blocks.columns * block));
    work->means.resize(static_cast<std::size_t>(3 * blocks.columns * blocks.rows));
    active_kernels().crop_blocks(blocks, work->sums.data(), work->means.data());
    for (std::size_t at = 0; alone && at < work->means.size(); at += 6) {
        std::copy_n(work->means.data() + at, 3, work->means.data() + at + 3);
    }
    CropGrid grid = grid_over(job, block, column0, row0);
    grid.bgr = work->means.data();
    grid.width = static_cast<std::int32_t>(blocks.columns), grid.height = static_cast<std::int32_t>(blocks.rows);
    grid.row_bytes = static_cast<std::ptrdiff_t>(3 * blocks.columns);
    return grid;
}

}  // namespace

void crop_rgb(const CropJob* jobs, std::int64_t count, std::int64_t side, float* out) {
    const std::int64_t size = 3 * side * side;
    Workspace work;
    for (const CropJob* job = jobs; job < jobs + count; ++job, out += size) {
        if (job->width < 1 || job->height < 1) {
            std::fill(out, out + size, 0.0f);
            continue;
        }
        const double zoom = zoom_of(job->picture_from_input);
        const std::int64_t block = block_of(zoom);
        CropGrid grid{};
        if (block == 1 && job->width >= 2) {
            grid = grid_over(*job, 1, 0, 0);
            grid.bgr = job->bgr, grid.row_bytes = job->row_bytes;
            grid.width = static_cast<std::int32_t>(job->width), grid.height = static_cast<std::int32_t>(job->height);
        } else {
            grid = blocks_of(*job, block, side, &work);
        }
        grid.taps = zoom > 1.0 ? 4 : 1;
        grid.end = std::max<std::ptrdiff_t>(grid.row_bytes, 0) * (grid.height - 1) + 3 * grid.width;
        active_kernels().crop_sample(grid, side, out);
    }
}

}  // namespace rt_hands
