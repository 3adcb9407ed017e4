// A 3x3 kernel on a 2x2 map has 36 pairs of a tap and an output, and for 20 of them the tap lies
// outside of the map, where a convolution multiplies by zeros. Here each pair inside the map is one
// matrix product over all images: the channels at its input position (the rows of a matrix with the
// stride x_size()) times the tap's weights (channels by features).

#include "small_maps.h"

#include <algorithm>
#include <vector>

#include "elementwise.h"
#include "shape.h"

namespace cifar_jax {
namespace {

// If more than this fraction of the pairs is inside, oneDNN's convolutions are as fast (measured on
// Zen 5: this code is 4 times faster for 2x2 maps, 1.5 times for 4x4 maps, no faster for 8x8 maps).
constexpr double kMostInside = 0.7;
constexpr int64_t kFewestImages = 16, kFewestChannels = 16;

// An output position, the input position that a tap of the kernel reads for it, and the tap.
struct Pair {
  int64_t output, input, tap;
};

std::vector<Pair> pairs_along(int64_t outputs, int64_t inputs, int64_t taps, int64_t stride,
                               int64_t pad) {
  std::vector<Pair> result;
  for (int64_t output = 0; output < outputs; ++output) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t input = output * stride + tap - pad;
      if (0 <= input && input < inputs) result.push_back({output, input, tap});
    }
  }
  return result;
}

// Returns the pairs inside the map.
std::vector<Pair> pairs(const Shape& s) {
  std::vector<Pair> result;
  const auto columns =
      pairs_along(s.out_width, s.width, s.kernel_width, s.stride[1], s.pad[2]);
  for (const Pair& row :
       pairs_along(s.out_height, s.height, s.kernel_height, s.stride[0], s.pad[0])) {
    for (const Pair& column : columns) {
      result.push_back({row.output * s.out_width + column.output,
                       row.input * s.width + column.input,
                       row.tap * s.kernel_width + column.tap});
    }
  }
  return result;
}

// c[rows, columns] += a[rows, inner] b[inner, columns]; either may be stored transposed.
void add_product(char a_stored, char b_stored, int64_t rows, int64_t columns, int64_t inner,
                 const float* a, int64_t a_step, const float* b, int64_t b_step, float* c,
                 int64_t c_step) {
  const auto status = dnnl_sgemm(a_stored, b_stored, rows, columns, inner, 1.f, a, a_step, b,
                                 b_step, 1.f, c, c_step);
  if (status != dnnl_success) throw dnnl::error(status, "a matrix product failed");
}

}  // namespace

int64_t pairs_inside(const Shape& s) {
  return pairs_along(s.out_height, s.height, s.kernel_height, s.stride[0], s.pad[0]).size() *
         pairs_along(s.out_width, s.width, s.kernel_width, s.stride[1], s.pad[2]).size();
}

bool is_small_map(const Shape& s, int64_t images) {
  const int64_t all = s.out_height * s.out_width * s.kernel_height * s.kernel_width;
  return s.type == memory::data_type::f32 && s.groups == 1 && images >= kFewestImages &&
         std::min(s.channels, s.features) >= kFewestChannels &&
         pairs_inside(s) <= kMostInside * all;
}

void small_map_forward(const Shape& s, int64_t images, const float* x, const float* kernel,
                       const float* bias, bool relu, float* y) {
  const int64_t positions = images * s.out_height * s.out_width;
  for (int64_t n = 0; n < positions; ++n) {
    if (bias) {
      std::copy_n(bias, s.features, y + n * s.features);
    } else {
      std::fill_n(y + n * s.features, s.features, 0.f);
    }
  }
  for (const Pair& pair : pairs(s)) {
    add_product('N', 'N', images, s.features, s.channels, x + pair.input * s.channels, s.x_size(),
                kernel + pair.tap * s.channels * s.features, s.features,
                y + pair.output * s.features, s.y_size());
  }
  if (relu) rectify(y, positions * s.features, s.type);
}

void small_map_to_x(const Shape& s, int64_t images, const float* kernel, const float* gradient,
                    float* x_gradient) {
  std::fill_n(x_gradient, images * s.x_size(), 0.f);
  for (const Pair& pair : pairs(s)) {
    add_product('N', 'T', images, s.channels, s.features, gradient + pair.output * s.features,
                s.y_size(), kernel + pair.tap * s.channels * s.features, s.features,
                x_gradient + pair.input * s.channels, s.x_size());
  }
}

void small_map_add_to_kernel(const Shape& s, int64_t images, const float* x,
                             const float* gradient, float* sum) {
  for (const Pair& pair : pairs(s)) {
    add_product('T', 'N', s.channels, s.features, images, x + pair.input * s.channels, s.x_size(),
                gradient + pair.output * s.features, s.y_size(),
                sum + pair.tap * s.channels * s.features, s.features);
  }
}

}  // namespace cifar_jax
