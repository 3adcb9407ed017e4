// Winograd's F(4x4, 3x3) for one instruction set (Lavin and Gray 2016, arXiv:1509.09308). The file
// that includes this one sets the compiler's target, defines LANES, the floats in a vector, and
// opens a namespace of its own.
//
// Outputs are computed in tiles of 4x4, each from a patch of 6x6 inputs, as polynomial products
// evaluated at six points a row and column: 36 products where the direct sum has 144. The points are
// 0, +-sqrt(1/2), +-sqrt(2) and infinity. With the textbook's 0, +-1, +-2 errors are five times
// as large.

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

constexpr float kRoot = 0.70710678f;  // sqrt(1/2); sqrt(2) is twice that

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// c[r][j] = (or +=, if `add`) sum over k of a[r * a_row + k * a_step] * b[k * b_step + j], for R rows
// and N vectors of columns, which stay in registers.
template <int R, int N>
__attribute__((always_inline)) inline void product_tile(int64_t inner, const float* a,
                                                        int64_t a_row, int64_t a_step,
                                                        const float* b, int64_t b_step, float* c,
                                                        int64_t c_row, bool add) {
  Vector sum[R][N];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 3
    for (int n = 0; n < N; ++n) sum[r][n] = add ? load(c + r * c_row + n * LANES) : Vector{};
  }
  for (int64_t k = 0; k < inner; ++k, a += a_step, b += b_step) {
    Vector along[N];
#pragma GCC unroll 3
    for (int n = 0; n < N; ++n) along[n] = load(b + n * LANES);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) sum[r][n] += a[r * a_row] * along[n];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 3
    for (int n = 0; n < N; ++n) store(c + r * c_row + n * LANES, sum[r][n]);
  }
}

// The same for any number of rows: R at a time, then the rest in halves of R.
template <int R, int N>
void product_rows(int64_t rows, int64_t inner, const float* a, int64_t a_row, int64_t a_step,
                  const float* b, int64_t b_step, float* c, int64_t c_row, bool add) {
  for (; rows >= R; rows -= R, a += R * a_row, c += R * c_row) {
    product_tile<R, N>(inner, a, a_row, a_step, b, b_step, c, c_row, add);
  }
  if constexpr (R > 1) {
    product_rows<R / 2, N>(rows, inner, a, a_row, a_step, b, b_step, c, c_row, add);
  }
}

// The number of columns that a product computes at a time.
inline int64_t panel(int64_t columns) {
  for (int64_t vectors : {3, 2}) {
    if (columns % (vectors * LANES) == 0) return vectors * LANES;
  }
  return LANES;
}

// c = (or +=) a b for any multiple of LANES columns. The rows of b have `columns` values, or, if
// `packed`, b consists of panels, one after the other.
inline void product(int64_t rows, int64_t inner, int64_t columns, const float* a, int64_t a_row,
                    int64_t a_step, const float* b, bool packed, float* c, bool add) {
  // As many sums as registers allow: 12 of AVX2's 16, 24 of AVX-512's 32.
  constexpr int kSums = LANES == 16 ? 24 : 12;
  const int64_t width = panel(columns), b_step = packed ? width : columns;
  const auto rows_of = width == 3 * LANES   ? product_rows<kSums / 3, 3>
                       : width == 2 * LANES ? product_rows<kSums / 2, 2>
                                            : product_rows<12, 1>;
  for (int64_t j = 0; j < columns; j += width) {
    rows_of(rows, inner, a, a_row, a_step, packed ? b + j * inner : b + j, b_step, c + j, columns,
            add);
  }
}

// The transforms of one row or column. They write every `step`-th value of `to`.

// B^T d: six inputs.
__attribute__((always_inline)) inline void of_inputs(const Vector* d, Vector* to, int step) {
  const Vector a = d[4] - 2.f * d[2], b = kRoot * d[3] - 2.f * kRoot * d[1];
  const Vector e = d[4] - 0.5f * d[2], f = 2.f * kRoot * d[3] - kRoot * d[1];
  to[0] = d[0] - 2.5f * d[2] + d[4];
  to[step] = a + b;
  to[2 * step] = a - b;
  to[3 * step] = e + f;
  to[4 * step] = e - f;
  to[5 * step] = d[1] - 2.5f * d[3] + d[5];
}

// A^T m: the four outputs.
__attribute__((always_inline)) inline void to_outputs(const Vector* m, Vector* to, int step) {
  const Vector a = m[1] + m[2], b = kRoot * (m[1] - m[2]);
  const Vector e = m[3] + m[4], f = 2.f * kRoot * (m[3] - m[4]);
  to[0] = m[0] + a + e;
  to[step] = b + f;
  to[2 * step] = 0.5f * a + 2.f * e;
  to[3 * step] = 0.5f * b + 2.f * f + m[5];
}

// A g: the gradients for four outputs.
__attribute__((always_inline)) inline void of_gradients(const Vector* g, Vector* to, int step) {
  const Vector a = g[0] + 0.5f * g[2], b = kRoot * (g[1] + 0.5f * g[3]);
  const Vector e = g[0] + 2.f * g[2], f = 2.f * kRoot * (g[1] + 2.f * g[3]);
  to[0] = g[0];
  to[step] = a + b;
  to[2 * step] = a - b;
  to[3 * step] = e + f;
  to[4 * step] = e - f;
  to[5 * step] = g[3];
}

// G w: three weights.
__attribute__((always_inline)) inline void of_weights(const Vector* w, Vector* to, int step) {
  const Vector a = w[0] + 0.5f * w[2], b = kRoot * w[1];
  const Vector e = w[0] + 2.f * w[2], f = 2.f * kRoot * w[1];
  to[0] = w[0];
  to[step] = (a + b) * (-2.f / 3);
  to[2 * step] = (a - b) * (-2.f / 3);
  to[3 * step] = (e + f) * (1.f / 6);
  to[4 * step] = (e - f) * (1.f / 6);
  to[5 * step] = w[2];
}

// G^T p: the gradients for three weights.
__attribute__((always_inline)) inline void to_weights(const Vector* p, Vector* to, int step) {
  const Vector a = (-2.f / 3) * (p[1] + p[2]), b = (-2.f / 3) * kRoot * (p[1] - p[2]);
  const Vector e = (1.f / 6) * (p[3] + p[4]), f = (1.f / 6) * 2.f * kRoot * (p[3] - p[4]);
  to[0] = p[0] + a + e;
  to[step] = b + f;
  to[2 * step] = 0.5f * a + 2.f * e + p[5];
}

// Transforms the columns of an IN x IN patch, then its rows.
template <int IN, int OUT, typename Transform>
__attribute__((always_inline)) inline void in_both_directions(const Vector* from, Vector* to,
                                                              Transform transform) {
  Vector half[OUT * IN];
#pragma GCC unroll 6
  for (int column = 0; column < IN; ++column) {
    Vector values[IN];
#pragma GCC unroll 6
    for (int row = 0; row < IN; ++row) values[row] = from[row * IN + column];
    transform(values, half + column, IN);
  }
#pragma GCC unroll 6
  for (int row = 0; row < OUT; ++row) transform(half + row * IN, to + row * OUT, 1);
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

// Writes the 36 transformed values of a tile, `step` apart, for each channel.
template <int SIZE, typename Transform>
__attribute__((always_inline)) inline void transform_tile(int64_t channels, const float* const* at,
                                                          float* to, int64_t step,
                                                          Transform transform) {
  for (int64_t i = 0; i < channels; i += LANES) {
    Vector patch[SIZE * SIZE], result[36];
#pragma GCC unroll 36
    for (int k = 0; k < SIZE * SIZE; ++k) patch[k] = load(at[k] + i);
    in_both_directions<SIZE, 6>(patch, result, transform);
#pragma GCC unroll 36
    for (int k = 0; k < 36; ++k) store(to + k * step + i, result[k]);
  }
}

// Writes a tile's outputs, with bias and ReLU, which keeps NaN.
inline void transform_y(int64_t features, const float* from, int64_t step, const float* bias,
                        bool relu, float* const* at) {
  for (int64_t o = 0; o < features; o += LANES) {
    Vector products[36], tile[16];
#pragma GCC unroll 36
    for (int k = 0; k < 36; ++k) products[k] = load(from + k * step + o);
    in_both_directions<6, 4>(products, tile, to_outputs);
    const Vector added = bias ? load(bias + o) : Vector{};
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      const Vector value = tile[k] + added;
      store(at[k] + o, relu ? (value <= 0.f ? Vector{} : value) : value);
    }
  }
}

// Transforms an HWIO kernel to 36 matrices of channels by features, in panels for `product`.
void transform_kernel(int64_t channels, int64_t features, const float* kernel, float* to) {
  const int64_t width = panel(features), size = channels * features;
  for (int64_t i = 0; i < channels; ++i) {
    for (int64_t o = 0; o < features; o += LANES) {
      Vector weights[9], result[36];
      for (int k = 0; k < 9; ++k) weights[k] = load(kernel + k * size + i * features + o);
      in_both_directions<3, 6>(weights, result, of_weights);
      float* const at = to + o / width * width * channels + i * width + o % width;
      for (int k = 0; k < 36; ++k) store(at + k * size, result[k]);
    }
  }
}

// Adds the kernel gradient that corresponds to sums of products of transformed values.
void add_to_kernel(int64_t channels, int64_t features, const float* sums, float* gradient) {
  const int64_t size = channels * features;
  for (int64_t i = 0; i < size; i += LANES) {
    Vector products[36], result[9];
    for (int k = 0; k < 36; ++k) products[k] = load(sums + k * size + i);
    in_both_directions<6, 3>(products, result, to_weights);
    for (int k = 0; k < 9; ++k) {
      float* const to = gradient + k * size + i;
      store(to, load(to) + result[k]);
    }
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

void transform_block_of_x(const Shape& s, const Tiles& tiles, int64_t first, int64_t count,
                          const float* x, const float* zeros, float* to) {
  const int64_t step = tiles.step(count, s.channels);
  for_tiles(tiles, first, count, [&](int64_t image, int64_t row, int64_t column, int64_t index) {
    const float* at[36];
    pixels<6>(x + image * s.x_size(), s.height, s.width, s.channels, row - s.pad[0],
              column - s.pad[2], zeros, at);
    transform_tile<6>(s.channels, at, to + index * s.channels, step, of_inputs);
  });
}

void forward(const Shape& s, const Tiles& tiles, const float* x, const float* weights,
             const float* bias, bool relu, float* y, const Buffers& buffers) {
  const int64_t size = s.channels * s.features;
  for (int64_t first = 0; first < tiles.count; first += tiles.block) {
    const int64_t count = std::min(tiles.block, tiles.count - first);
    const int64_t x_step = tiles.step(count, s.channels), y_step = tiles.step(count, s.features);
    transform_block_of_x(s, tiles, first, count, x, buffers.zeros, buffers.x);
    for (int64_t k = 0; k < 36; ++k) {
      product(count, s.channels, s.features, buffers.x + k * x_step, s.channels, 1,
              weights + k * size, true, buffers.y + k * y_step, false);
    }
    for_tiles(tiles, first, count, [&](int64_t image, int64_t row, int64_t column, int64_t index) {
      float* at[16];
      pixels<4>(y + image * s.y_size(), s.out_height, s.out_width, s.features, row, column,
                buffers.unused, at);
      transform_y(s.features, buffers.y + index * s.features, y_step, bias, relu, at);
    });
  }
}

// Adds to `sums`, 36 matrices of channels by features.
void add_products(const Shape& s, const Tiles& tiles, const float* x, const float* gradient,
                  float* sums, const Buffers& buffers) {
  const int64_t size = s.channels * s.features;
  for (int64_t first = 0; first < tiles.count; first += tiles.block) {
    const int64_t count = std::min(tiles.block, tiles.count - first);
    const int64_t x_step = tiles.step(count, s.channels), y_step = tiles.step(count, s.features);
    transform_block_of_x(s, tiles, first, count, x, buffers.zeros, buffers.x);
    for_tiles(tiles, first, count, [&](int64_t image, int64_t row, int64_t column, int64_t index) {
      const float* at[16];
      pixels<4>(gradient + image * s.y_size(), s.out_height, s.out_width, s.features, row, column,
                static_cast<const float*>(buffers.zeros), at);
      transform_tile<4>(s.features, at, buffers.y + index * s.features, y_step, of_gradients);
    });
    for (int64_t k = 0; k < 36; ++k) {
      product(s.channels, count, s.features, buffers.x + k * x_step, 1, s.channels,
              buffers.y + k * y_step, false, sums + k * size, true);
    }
  }
}

const Winograd functions{LANES, transform_kernel, forward, add_products, add_to_kernel};
