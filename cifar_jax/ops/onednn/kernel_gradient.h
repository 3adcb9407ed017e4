// The kernel gradient of a convolution on processors with AVX2 but without AVX-512.
#pragma once

#include <cstdint>

namespace cifar_jax {

struct Shape;

// Returns whether `add_kernel_gradient` supports this shape and processor, and beats oneDNN there.
bool has_own_kernel_gradient(const Shape& shape);

// sum[a, b, i, o] += sum over images n and outputs (r, c) of
//   x[n, r * stride + a - top, c * stride + b - left, i] * gradient[n, r, c, o].
// `sum` is HWIO, `x` and `gradient` are NHWC, all float32.
void add_kernel_gradient(const Shape& shape, int64_t images, const float* x,
                         const float* gradient, float* sum);

}  // namespace cifar_jax
