// Winograd's convolution for AVX2.

#include <algorithm>

#include "winograd_tiles.h"

#define LANES 8

#pragma GCC push_options
#pragma GCC target("avx2,fma")

namespace cifar_jax {
namespace {

#include "winograd_kernels.h"

}  // namespace

const Winograd& winograd_avx2(int64_t taps) {
  return taps == ThreeTaps::kTaps ? functions<ThreeTaps> : functions<FiveTaps>;
}

}  // namespace cifar_jax

#pragma GCC pop_options
