#include "elementwise.h"

#include <cstring>

namespace cifar_jax {
namespace {

inline float widened(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Rounds to nearest, ties to even; NaN stays NaN.
inline uint16_t narrowed(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

FOR_EACH_PROCESSOR void mask_f32(float* __restrict out, const float* __restrict gradient,
                                 const float* __restrict y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const float value = gradient[i];  // read unconditionally, or the compiler will not vectorise
    out[i] = y[i] > 0.f ? value : 0.f;
  }
}

FOR_EACH_PROCESSOR void mask_bf16(uint16_t* __restrict out, const uint16_t* __restrict gradient,
                                  const uint16_t* __restrict y, int64_t size) {
  // From the smallest positive bfloat16 to infinity; beyond lie NaN and the negative ones.
  for (int64_t i = 0; i < size; ++i) {
    const uint16_t value = gradient[i];
    out[i] = static_cast<uint16_t>(y[i] - 1) < 0x7f80u ? value : uint16_t{0};
  }
}

FOR_EACH_PROCESSOR void rectify_f32(float* __restrict y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) y[i] = y[i] <= 0.f ? 0.f : y[i];
}

FOR_EACH_PROCESSOR void rectify_bf16(uint16_t* __restrict y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const bool negative = static_cast<int16_t>(y[i]) < 0, nan = (y[i] & 0x7fffu) > 0x7f80u;
    y[i] = negative && !nan ? uint16_t{0} : y[i];
  }
}

FOR_EACH_PROCESSOR void add_rows_f32(float* __restrict sum, const float* __restrict values,
                                     int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) sum[j] += values[i * columns + j];
  }
}

FOR_EACH_PROCESSOR void add_rows_bf16(float* __restrict sum, const uint16_t* __restrict values,
                                      int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) sum[j] += widened(values[i * columns + j]);
  }
}

FOR_EACH_PROCESSOR void add_f32(float* __restrict sum, const float* __restrict values,
                                int64_t size) {
  for (int64_t i = 0; i < size; ++i) sum[i] += values[i];
}

FOR_EACH_PROCESSOR void widen_bf16(float* __restrict out, const uint16_t* __restrict values,
                                   int64_t size) {
  for (int64_t i = 0; i < size; ++i) out[i] = widened(values[i]);
}

FOR_EACH_PROCESSOR void narrow_f32(uint16_t* __restrict out, const float* __restrict values,
                                   int64_t size) {
  for (int64_t i = 0; i < size; ++i) out[i] = narrowed(values[i]);
}

}  // namespace

void widen(float* out, const uint16_t* values, int64_t size) { widen_bf16(out, values, size); }

void narrow(uint16_t* out, const float* values, int64_t size) { narrow_f32(out, values, size); }

void mask(void* out, const void* gradient, const void* y, int64_t size, memory::data_type type) {
  if (type == memory::data_type::bf16) {
    mask_bf16(static_cast<uint16_t*>(out), static_cast<const uint16_t*>(gradient),
              static_cast<const uint16_t*>(y), size);
  } else {
    mask_f32(static_cast<float*>(out), static_cast<const float*>(gradient),
             static_cast<const float*>(y), size);
  }
}

void rectify(void* y, int64_t size, memory::data_type type) {
  if (type == memory::data_type::bf16) {
    rectify_bf16(static_cast<uint16_t*>(y), size);
  } else {
    rectify_f32(static_cast<float*>(y), size);
  }
}

void add_rows(float* sum, const void* values, int64_t rows, int64_t columns,
              memory::data_type type) {
  if (type == memory::data_type::bf16) {
    add_rows_bf16(sum, static_cast<const uint16_t*>(values), rows, columns);
  } else {
    add_rows_f32(sum, static_cast<const float*>(values), rows, columns);
  }
}

void add_to(float* sum, const float* values, int64_t size) { add_f32(sum, values, size); }

void write_sum(void* out, std::vector<std::vector<float>>& parts, memory::data_type type) {
  std::vector<float>& sum = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) add_to(sum.data(), parts[i].data(), sum.size());
  if (type == memory::data_type::bf16) {
    narrow(static_cast<uint16_t*>(out), sum.data(), sum.size());
  } else {
    std::memcpy(out, sum.data(), sum.size() * sizeof(float));
  }
}

}  // namespace cifar_jax
