// Winograd's convolution of 3x3 and 5x5 kernels: a quarter and a sixth of the direct sum's
// multiplications.
#pragma once

#include <cstdint>

#include "shape.h"

namespace cifar_jax {

// Returns whether the functions below support this shape and processor.
bool supports_winograd(const Shape& shape);

// Returns whether they beat the direct sums for a shape that they support, forward or in gradients.
bool winograd_pays(const Shape& shape, bool gradient);

// The number of values of a transformed kernel, or of the products for its gradient.
int64_t winograd_size(const Shape& shape);

// The fewest images at a time for which reading the transformed kernel does not dominate.
int64_t winograd_images(const Shape& shape);

// Transforms an HWIO kernel for `winograd_forward`.
void winograd_kernel(const Shape& shape, const float* kernel, float* transformed);

// y = x * kernel + bias, then ReLU. NHWC in float32; `bias` may be null. An infinite or undefined
// value of a patch makes all outputs of its tile that depend on it infinite or undefined, and may
// do so for the others.
void winograd_forward(const Shape& shape, int64_t images, const float* x, const float* transformed,
                      const float* bias, bool relu, float* y);

// Adds the products of transformed inputs and gradients to `products`. The sum over all images
// is the transformed kernel gradient, which the second function adds to `sum`, HWIO.
void winograd_add_products(const Shape& shape, int64_t images, const float* x,
                           const float* gradient, float* products);
void winograd_add_to_kernel(const Shape& shape, const float* products, float* sum);

}  // namespace cifar_jax
