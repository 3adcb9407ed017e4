// Winograd's convolution for one instruction set (Lavin and Gray 2016, arXiv:1509.09308). The file
// that includes this one sets the compiler's target, defines LANES, the floats in a vector, and
// opens a namespace of its own.
//
// Outputs are computed in tiles of 4x4: 36 products for a kernel of 3x3, where the direct sum has
// 144, and 64 for one of 5x5, where it has 400.

#include "winograd_products.h"
#include "winograd_transforms.h"

// Transforms the columns of an IN x IN patch, then its rows. `from(row, column)` reads the patch,
// and `to(row, column, value)` gets the result.
template <int IN, int OUT, typename From, typename Transform, typename To>
__attribute__((always_inline)) inline void in_both_directions(From from, Transform transform,
                                                              To to) {
  Vector half[OUT * IN];
#pragma GCC unroll 8
  for (int column = 0; column < IN; ++column) {
    Vector values[IN], result[OUT];
#pragma GCC unroll 8
    for (int row = 0; row < IN; ++row) values[row] = from(row, column);
    transform(values, result);
#pragma GCC unroll 8
    for (int row = 0; row < OUT; ++row) half[row * IN + column] = result[row];
  }
#pragma GCC unroll 8
  for (int row = 0; row < OUT; ++row) {
    Vector result[OUT];
    transform(half + row * IN, result);
#pragma GCC unroll 8
    for (int column = 0; column < OUT; ++column) to(row, column, result[column]);
  }
}

// Finds the SIZE x SIZE values that start at a position of an image. Those outside of the image are
// in `outside`.
template <int SIZE, typename T>
inline void pixels(T* image, int64_t height, int64_t width, int64_t channels, int64_t top,
                   int64_t left, T* outside, T** at) {
  for (int64_t row = top; row < top + SIZE; ++row) {
    for (int64_t column = left; column < left + SIZE; ++column) {
      const bool inside = row >= 0 && row < height && column >= 0 && column < width;
      *at++ = inside ? image + (row * width + column) * channels : outside;
    }
  }
}

// Writes the transformed values of a tile, `step` apart, for each channel.
template <typename F, int SIZE, typename Transform>
__attribute__((always_inline)) inline void transform_tile(int64_t channels, const float* const* at,
                                                          float* to, int64_t step,
                                                          Transform transform) {
  for (int64_t i = 0; i < channels; i += LANES) {
    in_both_directions<SIZE, kPatch<F>>(
        [&](int row, int column) { return load(at[row * SIZE + column] + i); }, transform,
        [&](int row, int column, Vector value) {
          store(to + (row * kPatch<F> + column) * step + i, value);
        });
  }
}

// Writes a tile's outputs, with bias and ReLU, which keeps NaN.
template <typename F>
inline void transform_y(int64_t features, const float* from, int64_t step, const float* bias,
                        bool relu, float* const* at) {
  for (int64_t o = 0; o < features; o += LANES) {
    const Vector added = bias ? load(bias + o) : Vector{};
    in_both_directions<kPatch<F>, kTile>(
        [&](int row, int column) { return load(from + (row * kPatch<F> + column) * step + o); },
        combine<F, kTile, false>,
        [&](int row, int column, Vector value) {
          value += added;
          store(at[row * kTile + column] + o, relu ? (value <= 0.f ? Vector{} : value) : value);
        });
  }
}

// Transforms an HWIO kernel to matrices of channels by features, in panels for `product`.
template <typename F>
void transform_kernel(int64_t channels, int64_t features, const float* kernel, float* to) {
  const int64_t width = panel(features), size = channels * features;
  for (int64_t i = 0; i < channels; ++i) {
    for (int64_t o = 0; o < features; o += LANES) {
      float* const at = to + o / width * width * channels + i * width + o % width;
      in_both_directions<F::kTaps, kPatch<F>>(
          [&](int row, int column) {
            return load(kernel + (row * F::kTaps + column) * size + i * features + o);
          },
          evaluate<F, F::kTaps, true>,
          [&](int row, int column, Vector value) {
            store(at + (row * kPatch<F> + column) * size, value);
          });
    }
  }
}

// Adds the kernel gradient that corresponds to sums of products of transformed values.
template <typename F>
void add_to_kernel(int64_t channels, int64_t features, const float* sums, float* gradient) {
  const int64_t size = channels * features;
  for (int64_t i = 0; i < size; i += LANES) {
    in_both_directions<kPatch<F>, F::kTaps>(
        [&](int row, int column) { return load(sums + (row * kPatch<F> + column) * size + i); },
        combine<F, F::kTaps, true>,
        [&](int row, int column, Vector value) {
          float* const to = gradient + (row * F::kTaps + column) * size + i;
          store(to, load(to) + value);
        });
  }
}

// Calls work(image, row, column, index) for the tiles [first, first + count).
template <typename Work>
__attribute__((always_inline)) inline void for_tiles(const Tiles& tiles, int64_t first,
                                                     int64_t count, Work work) {
  for (int64_t index = 0; index < count; ++index) {
    const int64_t image = (first + index) / tiles.per_image();
    const int64_t tile = (first + index) % tiles.per_image();
    work(image, tile / tiles.columns * kTile, tile % tiles.columns * kTile, index);
  }
}

template <typename F>
void transform_block_of_x(const Shape& s, const Tiles& tiles, int64_t first, int64_t count,
                          const float* x, const float* zeros, float* to) {
  const int64_t step = tiles.step(count, s.channels);
  for_tiles(tiles, first, count, [&](int64_t image, int64_t row, int64_t column, int64_t index) {
    const float* at[kProducts<F>];
    pixels<kPatch<F>>(x + image * s.x_size(), s.height, s.width, s.channels, row - s.pad[0],
                      column - s.pad[2], zeros, at);
    transform_tile<F, kPatch<F>>(s.channels, at, to + index * s.channels, step, of_inputs<F>);
  });
}

template <typename F>
void forward(const Shape& s, const Tiles& tiles, const float* x, const float* weights,
             const float* bias, bool relu, float* y, const Buffers& buffers) {
  const int64_t size = s.channels * s.features;
  for (int64_t first = 0; first < tiles.count; first += tiles.block) {
    const int64_t count = std::min(tiles.block, tiles.count - first);
    const int64_t x_step = tiles.step(count, s.channels), y_step = tiles.step(count, s.features);
    transform_block_of_x<F>(s, tiles, first, count, x, buffers.zeros, buffers.x);
    for (int64_t k = 0; k < kProducts<F>; ++k) {
      product(count, s.channels, s.features, buffers.x + k * x_step, s.channels, 1,
              weights + k * size, true, buffers.y + k * y_step, false);
    }
    for_tiles(tiles, first, count, [&](int64_t image, int64_t row, int64_t column, int64_t index) {
      float* at[kTile * kTile];
      pixels<kTile>(y + image * s.y_size(), s.out_height, s.out_width, s.features, row, column,
                    buffers.unused, at);
      transform_y<F>(s.features, buffers.y + index * s.features, y_step, bias, relu, at);
    });
  }
}

// Adds to `sums`, matrices of channels by features.
template <typename F>
void add_products(const Shape& s, const Tiles& tiles, const float* x, const float* gradient,
                  float* sums, const Buffers& buffers) {
  const int64_t size = s.channels * s.features;
  for (int64_t first = 0; first < tiles.count; first += tiles.block) {
    const int64_t count = std::min(tiles.block, tiles.count - first);
    const int64_t x_step = tiles.step(count, s.channels), y_step = tiles.step(count, s.features);
    transform_block_of_x<F>(s, tiles, first, count, x, buffers.zeros, buffers.x);
    for_tiles(tiles, first, count, [&](int64_t image, int64_t row, int64_t column, int64_t index) {
      const float* at[kTile * kTile];
      pixels<kTile>(gradient + image * s.y_size(), s.out_height, s.out_width, s.features, row,
                    column, static_cast<const float*>(buffers.zeros), at);
      transform_tile<F, kTile>(s.features, at, buffers.y + index * s.features, y_step,
                               evaluate<F, kTile, false>);
    });
    for (int64_t k = 0; k < kProducts<F>; ++k) {
      product(s.channels, count, s.features, buffers.x + k * x_step, 1, s.channels,
              buffers.y + k * y_step, false, sums + k * size, true);
    }
  }
}

template <typename F>
constexpr Winograd functions{LANES, transform_kernel<F>, forward<F>, add_products<F>,
                             add_to_kernel<F>};
