// oneDNN pads 24 features to two vectors of 16, so a quarter of its multiplications are by zero.
// Here two neighbours share three vectors: features 0 to 15 of the first, features 16 to 23 of the
// first with 0 to 7 of the second, and features 8 to 23 of the second. The neighbours are adjacent
// outputs in a row in the forward pass, and two input channels in the kernel gradient.

#include "half_vectors.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace cifar_jax {
namespace {

constexpr int64_t kFeatures = 24;
constexpr int kVectors = 3;  // per two neighbours
constexpr int kPairs = 8;    // pairs of outputs at a time: 24 sums leave 8 registers
constexpr int kChannelPairs = 6;
constexpr int64_t kRows = 4;  // rows that the kernel gradient keeps in the L1 cache
constexpr __mmask16 kUpper = 0xff00;

bool has_avx512() {
  static const bool available = has_isa(dnnl::cpu_isa::avx512_core);
  return available;
}

// Copies an image and adds the padding that the outputs need.
const float* padded(const Shape& s, const float* image, Scratch& scratch) {
  const int64_t rows = s.out_height + s.kernel_height - 1;
  const int64_t columns = s.out_width + s.kernel_width - 1;
  const int64_t left = std::min(s.pad[2], columns);
  const int64_t copied = std::min(s.width, columns - left);
  float* const begin = scratch.of<float>(rows * columns * s.channels);
  float* to = begin;
  for (int64_t row = -s.pad[0]; row < rows - s.pad[0]; ++row, to += columns * s.channels) {
    if (row < 0 || row >= s.height) {
      std::fill_n(to, columns * s.channels, 0.f);
      continue;
    }
    std::fill_n(to, left * s.channels, 0.f);
    std::copy_n(image + row * s.width * s.channels, copied * s.channels, to + left * s.channels);
    std::fill_n(to + (left + copied) * s.channels, (columns - left - copied) * s.channels, 0.f);
  }
  return begin;
}

// Duplicates the 24 weights of each tap and channel, for two neighbours.
const float* pairs_of_weights(const float* kernel, int64_t count, Scratch& scratch) {
  float* const pairs = scratch.of<float>(count * 2 * kFeatures);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t half = 0; half < 2; ++half) {
      std::copy_n(kernel + i * kFeatures, kFeatures, pairs + (2 * i + half) * kFeatures);
    }
  }
  return pairs;
}

// Broadcasts a value to a register. Without the asm statement, the compiler reads it from memory
// wherever it is used, and the loads become the bottleneck.
__attribute__((target("avx512f"), always_inline)) inline __m512 in_all_lanes(const float& value) {
  __m512 lanes = _mm512_set1_ps(value);
  asm("" : "+v"(lanes));
  return lanes;
}

// Computes 2 * kPairs adjacent outputs of a row.
__attribute__((target("avx512f"))) void outputs(const Shape& s, const float* x,
                                                const float* weights, const float* bias,
                                                bool relu, float* y) {
  const int64_t step = s.channels, row = (s.out_width + s.kernel_width - 1) * s.channels;
  __m512 sum[kPairs][kVectors];
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      sum[p][v] = bias ? _mm512_loadu_ps(bias + v * 16) : _mm512_setzero_ps();
    }
  }
  for (int64_t a = 0; a < s.kernel_height; ++a) {
    // The channels of the taps in a row are contiguous.
    const float* from = x + a * row;
    for (int64_t i = 0; i < s.kernel_width * s.channels; ++i, ++from, weights += 2 * kFeatures) {
      const __m512 first = _mm512_loadu_ps(weights), shared = _mm512_loadu_ps(weights + 16),
                   second = _mm512_loadu_ps(weights + 32);
#pragma GCC unroll 8
      for (int p = 0; p < kPairs; ++p) {
        const __m512 low = in_all_lanes(from[2 * p * step]);
        const __m512 high = in_all_lanes(from[(2 * p + 1) * step]);
        sum[p][0] = _mm512_fmadd_ps(low, first, sum[p][0]);
        sum[p][1] = _mm512_fmadd_ps(_mm512_mask_mov_ps(low, kUpper, high), shared, sum[p][1]);
        sum[p][2] = _mm512_fmadd_ps(high, second, sum[p][2]);
      }
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      // Not _mm512_max_ps, which turns NaN into 0.
      const __mmask16 kept =
          relu ? _mm512_cmp_ps_mask(sum[p][v], _mm512_setzero_ps(), _CMP_NLE_UQ) : 0xffff;
      const __m512 value = _mm512_maskz_mov_ps(kept, sum[p][v]);
      _mm512_storeu_ps(y + (p * kVectors + v) * 16, value);
    }
  }
}

// Adds the products of `rows` rows to the gradients for kChannelPairs pairs of channels of one tap.
__attribute__((target("avx512f"))) void add_rows_of(const Shape& s, int64_t rows, const float* x,
                                                    const float* gradient, float* result) {
  const int64_t row = (s.out_width + s.kernel_width - 1) * s.channels;
  __m512 sum[kChannelPairs][kVectors];
#pragma GCC unroll 6
  for (int p = 0; p < kChannelPairs; ++p) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      sum[p][v] = _mm512_loadu_ps(result + (p * kVectors + v) * 16);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = x + r * row;
    for (int64_t c = 0; c < s.out_width; ++c, from += s.channels, gradient += kFeatures) {
      const __m512 first = _mm512_loadu_ps(gradient), second = _mm512_loadu_ps(gradient + 8);
      // Masked lanes are not read.
      const __m512 end = _mm512_maskz_loadu_ps(static_cast<__mmask16>(~kUpper), gradient + 16);
      const __m512 shared = _mm512_mask_loadu_ps(end, kUpper, gradient - 8);
#pragma GCC unroll 6
      for (int p = 0; p < kChannelPairs; ++p) {
        const __m512 low = in_all_lanes(from[2 * p]), high = in_all_lanes(from[2 * p + 1]);
        sum[p][0] = _mm512_fmadd_ps(low, first, sum[p][0]);
        sum[p][1] = _mm512_fmadd_ps(_mm512_mask_mov_ps(low, kUpper, high), shared, sum[p][1]);
        sum[p][2] = _mm512_fmadd_ps(high, second, sum[p][2]);
      }
    }
  }
#pragma GCC unroll 6
  for (int p = 0; p < kChannelPairs; ++p) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(result + (p * kVectors + v) * 16, sum[p][v]);
    }
  }
}

bool is_plain(const Shape& s) {
  return has_avx512() && s.type == memory::data_type::f32 && s.groups == 1 &&
         s.features == kFeatures && s.stride[0] == 1 && s.stride[1] == 1 && s.pad[0] >= 0 &&
         s.pad[2] >= 0;
}

}  // namespace

Shape to_x_shape(const Shape& s) {
  Shape t = s;
  t.height = s.out_height, t.width = s.out_width, t.channels = s.features;
  t.out_height = s.height, t.out_width = s.width, t.features = s.channels;
  t.pad[0] = s.kernel_height - 1 - s.pad[0], t.pad[1] = s.kernel_height - 1 - s.pad[1];
  t.pad[2] = s.kernel_width - 1 - s.pad[2], t.pad[3] = s.kernel_width - 1 - s.pad[3];
  return t;
}

void turn_kernel(const Shape& s, const float* kernel, float* turned) {
  const int64_t taps = s.kernel_height * s.kernel_width;
  for (int64_t tap = taps - 1; tap >= 0; --tap, kernel += s.channels * s.features) {
    for (int64_t i = 0; i < s.channels; ++i) {
      for (int64_t o = 0; o < s.features; ++o) {
        turned[(tap * s.features + o) * s.channels + i] = kernel[i * s.features + o];
      }
    }
  }
}

bool has_half_vectors(const Shape& s) {
  return is_plain(s) && s.kernel_width > 1 && s.out_width % (2 * kPairs) == 0;
}

bool has_half_vector_kernel_gradient(const Shape& s) {
  return is_plain(s) && s.kernel_width > 1 && s.channels % (2 * kChannelPairs) == 0;
}

void half_vector_forward(const Shape& s, int64_t images, const float* x, const float* kernel,
                         const float* bias, bool relu, float* y) {
  thread_local Scratch for_x, for_weights;
  const float* weights = pairs_of_weights(
      kernel, s.kernel_height * s.kernel_width * s.channels, for_weights);
  float biases[2 * kFeatures];
  if (bias) {
    std::copy_n(bias, kFeatures, biases);
    std::copy_n(bias, kFeatures, biases + kFeatures);
  }
  for (int64_t image = 0; image < images; ++image, x += s.x_size()) {
    const float* from = padded(s, x, for_x);
    for (int64_t row = 0; row < s.out_height; ++row, from += (s.kernel_width - 1) * s.channels) {
      for (int64_t column = 0; column < s.out_width; column += 2 * kPairs) {
        outputs(s, from, weights, bias ? biases : nullptr, relu, y);
        from += 2 * kPairs * s.channels;
        y += 2 * kPairs * kFeatures;
      }
    }
  }
}

void half_vector_add_to_kernel(const Shape& s, int64_t images, const float* x,
                               const float* gradient, float* sum) {
  thread_local Scratch for_x;
  const int64_t columns = s.out_width + s.kernel_width - 1;
  for (int64_t image = 0; image < images; ++image, x += s.x_size(), gradient += s.y_size()) {
    const float* from = padded(s, x, for_x);
    for (int64_t row = 0; row < s.out_height; row += kRows) {
      const int64_t rows = std::min(kRows, s.out_height - row);
      for (int64_t a = 0; a < s.kernel_height; ++a) {
        for (int64_t b = 0; b < s.kernel_width; ++b) {
          for (int64_t i = 0; i < s.channels; i += 2 * kChannelPairs) {
            add_rows_of(s, rows, from + ((row + a) * columns + b) * s.channels + i,
                        gradient + row * s.out_width * kFeatures,
                        sum + ((a * s.kernel_width + b) * s.channels + i) * kFeatures);
          }
        }
      }
    }
  }
}

}  // namespace cifar_jax
