// Chooses the shapes, the instruction set and the sizes of blocks for Winograd's convolution.

#include "winograd.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "small_maps.h"
#include "winograd_tiles.h"

namespace cifar_jax {
namespace {

// The limits below are from scripts/winograd_limits.py. With fewer than `channels` channels,
// Winograd's algorithm is faster if the direct sum has `ratio` times its products inside the map.
// Direct sums are slow for few channels.
struct Limit {
  int64_t channels;
  double ratio;
};
constexpr Limit kRatios[] = {{16, 0.4}, {32, 1.25}, {128, 1.3}, {INT64_MAX, 1.5}};
// From kTransformChannels on, transforming a kernel takes a notable time, which pays if a batch has
// enough output positions: at least kPositions / lanes (64 with AVX-512, 128 with AVX2), and one for
// every kWeights * lanes weights of a tap.
constexpr int64_t kTransformChannels = 32, kPositions = 1024, kWeights = 32;
// With fewer tiles at a time, reading the kernel's matrices takes longer than the products.
constexpr int64_t kFewestTiles = 48;

// The number of products for a tile.
int64_t products_of(const Shape& s) {
  const int64_t patch = kTile + s.kernel_height - 1;
  return patch * patch;
}

// Returns the functions for a shape, or null.
const Winograd* functions_for(const Shape& s) {
  static const bool avx512 = has_isa(dnnl::cpu_isa::avx512_core);
  static const bool avx2 = has_isa(dnnl::cpu_isa::avx2);
  for (const Winograd* w : {avx512 ? &winograd_avx512(s.kernel_height) : nullptr,
                            avx2 ? &winograd_avx2(s.kernel_height) : nullptr}) {
    if (w && s.channels % w->lanes == 0 && s.features % w->lanes == 0) return w;
  }
  return nullptr;
}

// The values of a block fill at most three fifths of the second-level cache.
Tiles tiles_of(const Shape& s, int64_t images) {
  static const int64_t level2 = std::max<int64_t>(sysconf(_SC_LEVEL2_CACHE_SIZE), 512 * 1024);
  Tiles tiles{(s.out_width + kTile - 1) / kTile, (s.out_height + kTile - 1) / kTile, 0, 0};
  tiles.count = images * tiles.per_image();
  const int64_t fitting =
      level2 * 3 / 5 / (products_of(s) * sizeof(float) * (s.channels + s.features));
  tiles.block = std::min(tiles.count, std::max(kFewestTiles, fitting / 24 * 24));
  return tiles;
}

// The scratch memory of this thread, with zeros.
Buffers buffers_of(const Shape& s, const Tiles& tiles) {
  thread_local Scratch scratch;
  const int64_t x = products_of(s) * tiles.step(tiles.block, s.channels);
  const int64_t y = products_of(s) * tiles.step(tiles.block, s.features);
  const int64_t pixel = std::max(s.channels, s.features);
  float* const begin = scratch.of<float>(x + y + 2 * pixel);
  std::fill_n(begin, pixel, 0.f);
  return Buffers{begin + 2 * pixel, begin + 2 * pixel + x, begin, begin + pixel};
}

}  // namespace

bool supports_winograd(const Shape& s) {
  return s.type == memory::data_type::f32 && s.groups == 1 &&
         s.kernel_width == s.kernel_height && (s.kernel_width == 3 || s.kernel_width == 5) &&
         s.stride[0] == 1 && s.stride[1] == 1 && functions_for(s) != nullptr;
}

bool winograd_pays(const Shape& s, bool gradient) {
  const int64_t outputs = s.out_height * s.out_width, least = std::min(s.channels, s.features);
  // A gradient transforms twice: the kernel for the inputs, and the sum of products.
  const int64_t positions = s.images * outputs / (gradient ? 2 : 1), lanes = functions_for(s)->lanes;
  if (least >= kTransformChannels && (positions * lanes < kPositions ||
                                      positions * lanes * kWeights < s.channels * s.features)) {
    return false;
  }
  const Limit* limit = kRatios;
  while (least >= limit->channels) ++limit;
  return pairs_inside(s) >= limit->ratio * products_of(s) * tiles_of(s, 1).per_image();
}

int64_t winograd_size(const Shape& s) { return products_of(s) * s.channels * s.features; }

int64_t winograd_images(const Shape& s) {
  const int64_t per_image = tiles_of(s, 1).per_image();
  return (kFewestTiles + per_image - 1) / per_image;
}

void winograd_kernel(const Shape& s, const float* kernel, float* transformed) {
  functions_for(s)->transform_kernel(s.channels, s.features, kernel, transformed);
}

void winograd_forward(const Shape& s, int64_t images, const float* x, const float* transformed,
                      const float* bias, bool relu, float* y) {
  const Tiles tiles = tiles_of(s, images);
  functions_for(s)->forward(s, tiles, x, transformed, bias, relu, y, buffers_of(s, tiles));
}

void winograd_add_products(const Shape& s, int64_t images, const float* x, const float* gradient,
                           float* products) {
  const Tiles tiles = tiles_of(s, images);
  functions_for(s)->add_products(s, tiles, x, gradient, products, buffers_of(s, tiles));
}

void winograd_add_to_kernel(const Shape& s, const float* products, float* sum) {
  functions_for(s)->add_to_kernel(s.channels, s.features, products, sum);
}

}  // namespace cifar_jax
