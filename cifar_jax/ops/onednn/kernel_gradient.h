// The gradient of a convolution's kernel on processors with AVX2 but no AVX-512.
#pragma once

#include <cstdint>

namespace cifar_jax {

struct Shape;

// Whether `add_kernel_gradient` is there, and faster than oneDNN, for this shape and processor.
bool has_own_kernel_gradient(const Shape& shape);

// sum[a, b, i, o] += sum over images n and outputs (r, c) of
//   x[n, r * stride + a - top, c * stride + b - left, i] * gradient[n, r, c, o].
// `sum` is HWIO, `x` and `gradient` are NHWC, all float32.
void add_kernel_gradient(const Shape& shape, int64_t images, const float* x,
                         const float* gradient, float* sum);

}  // namespace cifar_jax
