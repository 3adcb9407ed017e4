// What the code for each instruction set shares.
#pragma once

#include <cstdint>

#include "shape.h"

namespace cifar_jax {

constexpr int64_t kTile = 4;

// The tiles of a chunk of images, of which `block` are processed at a time.
struct Tiles {
  int64_t columns, rows, count, block;

  int64_t per_image() const { return rows * columns; }
  // The distance between the matrices of a block's transformed values. Not a power of two, since
  // the values of a tile would then evict each other from the cache.
  int64_t step(int64_t tiles, int64_t channels) const { return tiles * channels + 16; }
};

struct Buffers {
  float *x, *y;   // transformed values of a block
  float* zeros;   // the pixels outside of an image
  float* unused;  // outputs outside of an image
};

// The functions for one instruction set and size of kernels.
struct Winograd {
  int64_t lanes;
  void (*transform_kernel)(int64_t channels, int64_t features, const float* kernel, float* to);
  void (*forward)(const Shape& s, const Tiles& tiles, const float* x, const float* weights,
                  const float* bias, bool relu, float* y, const Buffers& buffers);
  void (*add_products)(const Shape& s, const Tiles& tiles, const float* x, const float* gradient,
                       float* sums, const Buffers& buffers);
  void (*add_to_kernel)(int64_t channels, int64_t features, const float* sums, float* gradient);
};

// Returns the functions for kernels of 3x3 or 5x5.
const Winograd& winograd_avx2(int64_t taps);
const Winograd& winograd_avx512(int64_t taps);

}  // namespace cifar_jax
