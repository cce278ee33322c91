#pragma once

#include <cstdint>

namespace rt_hands {

// A linear layer: weight (inputs, outputs) row-major, bias (outputs).
struct DenseLayer {
    const float *weight, *bias;
    std::int64_t inputs, outputs;
};

// to (2, outputs) = layer(from (2, inputs)): of two hands at once, so that each weight is read once.
void dense_pair(const DenseLayer& layer, const float* from, float* to);

}  // namespace rt_hands
