// The kernel gradient of depthwise convolutions with kernels of 5x5 and 7x7.
#pragma once

#include <cstdint>

#include "shape.h"

namespace cifar_jax {

// Returns whether the function below supports this shape and processor, and beats oneDNN there.
bool has_depthwise_kernel_gradient(const Shape& shape);

// sum[a, b, c] += sum over images n and outputs (r, q) of
//   x[n, r * stride + a - top, q * stride + b - left, c] * gradient[n, r, q, c].
// NHWC and HWIO in float32.
void depthwise_add_to_kernel(const Shape& shape, int64_t images, const float* x,
                             const float* gradient, float* sum);

}  // namespace cifar_jax
