// Enough of CUDA to run this project's kernels on a CPU, one fiber per CUDA thread: a test of their arithmetic and
// of where they wait for each other, not of speed. Linux only (ucontext).
#pragma once

#include <csetjmp>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#define RT_HANDS_CUDA_ON_CPU
#define __global__
#define __device__
#define __host__
#define __shared__ static  // one block runs at a time

struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

struct __half { _Float16 value; };
inline float __half2float(__half h) { return static_cast<float>(h.value); }
inline __half __float2half(float f) { return {static_cast<_Float16>(f)}; }
using std::isfinite;
using std::max;
using std::min;

namespace cpu {

// ucontext starts a fiber, _setjmp and _longjmp switch between them: ten times quicker, they ask the kernel nothing.
struct Fiber { ucontext_t context; jmp_buf here; dim3 index; bool started, done; std::vector<char> stack; };
static jmp_buf scheduler;
static Fiber* current;
static void (*body)(void*);
static void* body_data;

inline void fiber_main() {
    body(body_data);
    current->done = true;
    _longjmp(scheduler, 1);
}

inline void resume(Fiber& fiber) {
    current = &fiber;
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.here, 1);
    fiber.started = true;
    setcontext(&fiber.context);
}

// One block: every fiber runs up to its next __syncthreads(), then the next round. `backwards` runs them in the
// opposite order: a kernel whose answer depends on the order lacks a barrier.
inline void run_block(std::vector<Fiber>& fibers, bool backwards) {
    unsigned n = 0;
    for (Fiber& fiber : fibers) {
        fiber.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y)};
        fiber.started = fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
        ++n;
    }
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (std::size_t i = 0; i < fibers.size(); ++i) {
            Fiber& fiber = fibers[backwards ? fibers.size() - 1 - i : i];
            if (!fiber.done) resume(fiber);
            waiting |= !fiber.done;
        }
    }
}

// One block of a kernel whose threads never wait: plain calls, 20 x quicker.
inline void run_free_block(bool backwards) {
    const unsigned count = blockDim.x * blockDim.y * blockDim.z;
    for (unsigned i = 0; i < count; ++i) {
        const unsigned n = backwards ? count - 1 - i : i;
        threadIdx = {n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y)};
        body(body_data);
    }
}

inline void run_grid(dim3 grid, dim3 block, bool backwards, bool waits) {
    gridDim = grid, blockDim = block, current = nullptr;
    std::vector<Fiber> fibers(waits ? block.x * block.y * block.z : 0);
    for (Fiber& fiber : fibers) fiber.stack.resize(64 << 10);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                waits ? run_block(fibers, backwards) : run_free_block(backwards);
            }
}

// Calls a kernel with pointers to its arguments, as cuLaunchKernel does.
template <typename... Args, std::size_t... I>
void launch(void (*kernel)(Args...), void** arguments, dim3 grid, dim3 block, bool backwards, bool waits,
            std::index_sequence<I...>) {
    struct Call { void (*kernel)(Args...); void** arguments; } call{kernel, arguments};
    body_data = &call;
    body = [](void* data) {
        Call& c = *static_cast<Call*>(data);
        c.kernel(*static_cast<Args*>(c.arguments[I])...);
    };
    run_grid(grid, block, backwards, waits);
}

template <typename... Args>
void launch(void (*kernel)(Args...), void** arguments, dim3 grid, dim3 block, bool backwards, bool waits) {
    launch(kernel, arguments, grid, block, backwards, waits, std::index_sequence_for<Args...>{});
}

}  // namespace cpu

inline void __syncthreads() {
    if (!cpu::current) throw std::logic_error("__syncthreads() in a kernel declared as never waiting");
    if (!_setjmp(cpu::current->here)) _longjmp(cpu::scheduler, 1);
}
