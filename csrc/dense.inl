// A linear layer for two hands at once. Input by input: the weights are read once, in order, which is what it costs.

static void dense_pair(const DenseLayer& layer, const float* from, float* to) {
    const std::int64_t outputs = layer.outputs;
    float *RT_HANDS_RESTRICT first = to, *RT_HANDS_RESTRICT second = to + outputs;
    std::memcpy(first, layer.bias, static_cast<std::size_t>(outputs) * sizeof(float));
    std::memcpy(second, layer.bias, static_cast<std::size_t>(outputs) * sizeof(float));
    for (std::int64_t i = 0; i < layer.inputs; ++i) {
        const float a = from[i], b = from[layer.inputs + i];
        const float* RT_HANDS_RESTRICT weight = layer.weight + outputs * i;
        for (std::int64_t o = 0; o < outputs; ++o) {
            first[o] += weight[o] * a;
            second[o] += weight[o] * b;
        }
    }
}
