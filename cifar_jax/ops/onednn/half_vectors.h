// Convolutions of 24 features, which are one and a half vectors of AVX-512.
#pragma once

#include <cstdint>

#include "shape.h"

namespace cifar_jax {

// The convolution that computes a convolution's gradient by x from its gradient by y, with the
// kernel turned around.
Shape to_x_shape(const Shape& shape);
void turn_kernel(const Shape& shape, const float* kernel, float* turned);

// Whether the functions below are there, and faster than oneDNN, for this shape and processor.
bool has_half_vectors(const Shape& shape);
bool has_half_vector_kernel_gradient(const Shape& shape);

// y = x * kernel + bias, then ReLU. NHWC and HWIO in float32; `bias` may be null.
void half_vector_forward(const Shape& shape, int64_t images, const float* x, const float* kernel,
                         const float* bias, bool relu, float* y);

// sum[a, b, i, o] += sum over images n and outputs (r, c) of
//   x[n, r + a - top, c + b - left, i] * gradient[n, r, c, o].
void half_vector_add_to_kernel(const Shape& shape, int64_t images, const float* x,
                               const float* gradient, float* sum);

}  // namespace cifar_jax
