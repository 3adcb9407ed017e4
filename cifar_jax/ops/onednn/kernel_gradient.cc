// oneDNN computes this gradient at a third to a half of an AVX2 processor's peak, and its other
// convolutions at nine tenths. Here the gradient is a sum of outer products over positions: the
// channels of a shifted image times the features of the output's gradient. Tiles of the result, of
// at most 12 vectors, stay in registers while they accumulate the positions of a block. The block's
// values are packed in the order in which they are read, and fit into the L1 cache.

#include "kernel_gradient.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "shape.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

namespace cifar_jax {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kPositions = 256;  // per block: its panels fill most of 32 KB

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

// The positions of a block, as runs of equal length that are contiguous in both panels.
struct Runs {
  std::vector<int64_t> x;  // the start of each run in a panel of x, in positions
  int64_t length;
};

// result[i][0..8V) += sum over positions of x[i] * gradient[0..8V), for I channels.
template <int I, int V>
__attribute__((target("avx2,fma"))) void tile(const float* x, const float* gradient,
                                              float* result, int64_t features, const Runs& runs) {
  Vector sum[I][V];
#pragma GCC unroll 8
  for (int i = 0; i < I; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sum[i][v] = *reinterpret_cast<const Vector*>(result + i * features + v * kLanes);
    }
  }
  for (const int64_t start : runs.x) {
    const float* from = x + start * I;
    for (int64_t k = 0; k < runs.length; ++k, from += I, gradient += V * kLanes) {
      Vector along[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        along[v] = *reinterpret_cast<const Vector*>(gradient + v * kLanes);
      }
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[i][v] += from[i] * along[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < I; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      *reinterpret_cast<Vector*>(result + i * features + v * kLanes) = sum[i][v];
    }
  }
}

using Tile = void (*)(const float*, const float*, float*, int64_t, const Runs&);

template <int V, size_t... I>
constexpr std::array<Tile, 12> tiles(std::index_sequence<I...>) {
  return {tile<static_cast<int>(I) + 1, V>...};
}

// Indexed by the number of feature vectors minus one, then of channels minus one.
constexpr std::array<std::array<Tile, 12>, 4> kTiles{
    tiles<1>(std::make_index_sequence<12>()), tiles<2>(std::make_index_sequence<6>()),
    tiles<3>(std::make_index_sequence<4>()), tiles<4>(std::make_index_sequence<3>())};

struct Part {
  int64_t first, size;
};

// Splits [0, size) into as few parts of at most `largest` as possible, of nearly equal sizes.
std::vector<Part> evenly(int64_t size, int64_t largest) {
  const int64_t count = (size + largest - 1) / largest;
  std::vector<Part> parts;
  for (int64_t i = 0; i < count; ++i) {
    parts.push_back({size * i / count, size * (i + 1) / count - size * i / count});
  }
  return parts;
}

// Copies `count` rows of W floats, which start `step` floats apart, into contiguous memory.
template <int W>
void copy_rows(float* to, const float* from, int64_t step, int64_t count) {
  for (int64_t k = 0; k < count; ++k) std::memcpy(to + k * W, from + k * step, W * sizeof(float));
}

using CopyRows = void (*)(float*, const float*, int64_t, int64_t);

template <int Unit, size_t... I>
constexpr std::array<CopyRows, sizeof...(I)> copies(std::index_sequence<I...>) {
  return {copy_rows<(static_cast<int>(I) + 1) * Unit>...};
}

// Indexed by the number of channels minus one, or of feature vectors minus one.
constexpr auto kCopyChannels = copies<1>(std::make_index_sequence<12>());
constexpr auto kCopyFeatures = copies<kLanes>(std::make_index_sequence<4>());

// Writes the channels `part` of input rows [first, first + rows) of one image, shifted by `column`,
// with `out_width` positions per row.
float* pack_x(float* to, const Shape& s, const float* image, int64_t first, int64_t rows,
              int64_t column, Part part) {
  const int64_t stride = s.stride[1], offset = column - s.pad[2];
  const int64_t low = std::min(s.out_width, std::max<int64_t>(0, (-offset + stride - 1) / stride));
  const int64_t beyond = s.width - offset;  // stride * position must stay below it
  const int64_t high =
      std::max(low, std::min(s.out_width, beyond <= 0 ? 0 : (beyond - 1) / stride + 1));
  for (int64_t row = first; row < first + rows; ++row, to += s.out_width * part.size) {
    if (row < 0 || row >= s.height) {
      std::fill_n(to, s.out_width * part.size, 0.f);
      continue;
    }
    std::fill_n(to, low * part.size, 0.f);
    kCopyChannels[part.size - 1](
        to + low * part.size,
        image + (row * s.width + low * stride + offset) * s.channels + part.first,
        stride * s.channels, high - low);
    std::fill_n(to + high * part.size, (s.out_width - high) * part.size, 0.f);
  }
  return to;
}

}  // namespace

bool has_own_kernel_gradient(const Shape& s) {
  static const bool only_avx2 = dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx2;
  return only_avx2 && s.type == memory::data_type::f32 && s.groups == 1 &&
         s.features % kLanes == 0 && s.kernel_height * s.kernel_width > 1;
}

void add_kernel_gradient(const Shape& s, int64_t images, const float* x, const float* gradient,
                         float* sum) {
  thread_local Scratch for_x, for_gradient;
  // A block consists of some rows of one image or, if images are small, of several images.
  const int64_t area = s.out_height * s.out_width;
  const int64_t images_a_block = std::max<int64_t>(1, std::min(images, 2 * kPositions / area));
  const int64_t rows_a_block =
      images_a_block > 1 ? s.out_height : std::min(s.out_height, std::max<int64_t>(1, kPositions / s.out_width));
  const int64_t in_rows = (rows_a_block - 1) * s.stride[0] + s.kernel_height;
  // Three channels by four vectors use the registers as well as six by two.
  const int64_t most_features = s.channels <= 3 ? 4 : s.features % (2 * kLanes) == 0 ? 2 : 3;
  const std::vector<Part> features = evenly(s.features / kLanes, most_features);
  const std::vector<Part> channels = evenly(s.channels, 12 / features.back().size);

  const int64_t positions = images_a_block * rows_a_block * s.out_width;
  float* packed = for_gradient.of<float>(positions * s.features);
  const int64_t shift_size = images_a_block * in_rows * s.out_width * channels.back().size;
  float* panel = for_x.of<float>(s.kernel_width * shift_size);
  Runs runs;

  for (int64_t image = 0; image < images; image += images_a_block) {
    const int64_t count = std::min(images_a_block, images - image);
    for (int64_t row = 0; row < s.out_height; row += rows_a_block) {
      const int64_t rows = std::min(rows_a_block, s.out_height - row);
      const int64_t read = (rows - 1) * s.stride[0] + s.kernel_height;
      // Rows are contiguous in a panel of x only if the stride is 1.
      const bool contiguous = s.stride[0] == 1;
      runs.length = contiguous ? rows * s.out_width : s.out_width;
      runs.x.clear();
      for (int64_t n = 0; n < count; ++n) {
        for (int64_t r = 0; r < (contiguous ? 1 : rows); ++r) {
          runs.x.push_back((n * read + r * s.stride[0]) * s.out_width);
        }
      }
      const float* from = gradient + (image * s.out_height + row) * s.out_width * s.features;
      float* to = packed;
      for (const Part& part : features) {
        kCopyFeatures[part.size - 1](to, from + part.first * kLanes, s.features,
                                     count * rows * s.out_width);
        to += part.size * kLanes * count * rows * s.out_width;
      }
      for (const Part& channel : channels) {
        float* next = panel;
        for (int64_t b = 0; b < s.kernel_width; ++b) {
          for (int64_t n = 0; n < count; ++n) {
            next = pack_x(next, s, x + (image + n) * s.x_size(), row * s.stride[0] - s.pad[0],
                          read, b, channel);
          }
        }
        const int64_t shift = count * read * s.out_width * channel.size;
        for (const Part& part : features) {
          const float* along = packed + part.first * kLanes * count * rows * s.out_width;
          const Tile add = kTiles[part.size - 1][channel.size - 1];
          for (int64_t a = 0; a < s.kernel_height; ++a) {
            for (int64_t b = 0; b < s.kernel_width; ++b) {
              const int64_t tap = (a * s.kernel_width + b) * s.channels + channel.first;
              add(panel + b * shift + a * s.out_width * channel.size, along,
                  sum + tap * s.features + part.first * kLanes, s.features, runs);
            }
          }
        }
      }
    }
  }
}

}  // namespace cifar_jax

#pragma GCC pop_options
