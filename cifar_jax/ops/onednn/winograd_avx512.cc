// Winograd's convolution for AVX-512.

#include <algorithm>

#include "winograd_tiles.h"

#define LANES 16

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")

namespace cifar_jax {
namespace {

#include "winograd_kernels.h"

}  // namespace

const Winograd& winograd_avx512(int64_t taps) {
  return taps == ThreeTaps::kTaps ? functions<ThreeTaps> : functions<FiveTaps>;
}

}  // namespace cifar_jax

#pragma GCC pop_options
