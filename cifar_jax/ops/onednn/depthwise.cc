// oneDNN computes this gradient in scalar code, which takes a quarter of a training step of an
// EfficientNet. Here each vector holds adjacent channels, and the sums of a row of the
// kernel stay in registers.

#include "depthwise.h"

#include <algorithm>

namespace cifar_jax {
namespace {

namespace avx2 {
#define LANES 8
#define TARGET __attribute__((target("avx2,fma")))
#include "depthwise_kernels.h"
#undef TARGET
#undef LANES
}  // namespace avx2

namespace avx512 {
#define LANES 16
#define TARGET __attribute__((target("avx512f,avx512vl,fma,prefer-vector-width=512")))
#include "depthwise_kernels.h"
#undef TARGET
#undef LANES
}  // namespace avx512

using AddImage = void (*)(const Shape&, const float* x, const float* gradient, float* sum);

// Returns the function for a shape, or null.
AddImage function_for(const Shape& s) {
  static const bool has_avx512 = has_isa(dnnl::cpu_isa::avx512_core);
  static const bool has_avx2 = has_isa(dnnl::cpu_isa::avx2);
  const bool five = s.kernel_width == 5;
  if (has_avx512 && s.channels % avx512::kLanes == 0) {
    return five ? avx512::add_image<5> : avx512::add_image<7>;
  }
  if (has_avx2 && s.channels % avx2::kLanes == 0) {
    return five ? avx2::add_image<5> : avx2::add_image<7>;
  }
  return nullptr;
}

}  // namespace

bool has_depthwise_kernel_gradient(const Shape& s) {
  return s.groups > 1 && s.groups == s.channels && s.groups == s.features &&
         s.type == memory::data_type::f32 && (s.kernel_width == 5 || s.kernel_width == 7) &&
         function_for(s) != nullptr;
}

void depthwise_add_to_kernel(const Shape& s, int64_t images, const float* x,
                             const float* gradient, float* sum) {
  const AddImage add_image = function_for(s);
  for (int64_t n = 0; n < images; ++n) {
    add_image(s, x + n * s.x_size(), gradient + n * s.y_size(), sum);
  }
}

}  // namespace cifar_jax
