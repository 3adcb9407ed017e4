// Convolutions with 24 features, which are one and a half AVX-512 vectors.
#pragma once

#include <cstdint>

#include "shape.h"

namespace cifar_jax {

// The shape of the convolution that computes the gradient for x from the gradient for y, and its
// kernel, which is rotated by 180 degrees and transposed.
Shape to_x_shape(const Shape& shape);
void turn_kernel(const Shape& shape, const float* kernel, float* turned);

// Returns whether the functions below support this shape and processor, and beat oneDNN there.
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
