// Convolutions of maps so small that most of a kernel lies outside of them.
#pragma once

#include <cstdint>

namespace cifar_jax {

struct Shape;

// Returns the number of pairs of an output position and a tap of the kernel inside the map.
int64_t pairs_inside(const Shape& shape);

// Returns whether the functions below support this shape, and beat oneDNN's convolutions there.
bool is_small_map(const Shape& shape, int64_t images);

// y[n, q, o] = bias[o] + sum over taps and i of x[n, p, i] * kernel[tap, i, o], then ReLU.
// All arrays are float32; `bias` may be null.
void small_map_forward(const Shape& shape, int64_t images, const float* x, const float* kernel,
                       const float* bias, bool relu, float* y);

// x_gradient[n, p, i] = sum over taps and o of gradient[n, q, o] * kernel[tap, i, o].
void small_map_to_x(const Shape& shape, int64_t images, const float* kernel,
                    const float* gradient, float* x_gradient);

// sum[tap, i, o] += sum over n and p of x[n, p, i] * gradient[n, q, o].
void small_map_add_to_kernel(const Shape& shape, int64_t images, const float* x,
                             const float* gradient, float* sum);

}  // namespace cifar_jax
