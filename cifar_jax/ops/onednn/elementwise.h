// Elementwise masks, sums and conversions, in float32 and bfloat16.
#pragma once

#include "common.h"

// Compiles a function for several processors; the loader selects the best one for this machine.
#define FOR_EACH_PROCESSOR \
  __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))

namespace cifar_jax {

// Converts bfloat16 to float32, and back by rounding to nearest, ties to even.
void widen(float* out, const uint16_t* values, int64_t size);
void narrow(uint16_t* out, const float* values, int64_t size);

// Writes `gradient` where `y` is positive, and 0 elsewhere: the gradient of a ReLU.
void mask(void* out, const void* gradient, const void* y, int64_t size, memory::data_type type);

// Replaces negative values by 0, in place: a ReLU that keeps NaN, which oneDNN's own turns into 0.
void rectify(void* y, int64_t size, memory::data_type type);

// sum[j] += rows[i][j] for each of `rows` rows.
void add_rows(float* sum, const void* values, int64_t rows, int64_t columns,
              memory::data_type type);

// sum[i] += values[i].
void add_to(float* sum, const float* values, int64_t size);

// Writes the sum of all parts as `type`.
void write_sum(void* out, std::vector<std::vector<float>>& parts, memory::data_type type);

}  // namespace cifar_jax
