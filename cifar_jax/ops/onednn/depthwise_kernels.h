// The code of depthwise.cc for one instruction set. TARGET names it, and LANES is the number of
// floats in its vectors.

constexpr int64_t kLanes = LANES;
typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

TARGET inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

// sum[b] += x[q * stride + b - left] * gradient[q], over the outputs q of a row, for the LANES
// channels that start at `x`, `gradient` and `sum`.
template <int kColumns>
TARGET void add_row(const Shape& s, const float* x, const float* gradient, float* sum) {
  const int64_t step = s.channels, stride = s.stride[1], left = s.pad[2];
  // The outputs from `begin` to `end` read no padding.
  const int64_t begin = std::min(s.out_width, (left + stride - 1) / stride);
  const int64_t reach = s.width + left - kColumns;
  const int64_t end = reach < 0 ? begin : std::max(begin, std::min(s.out_width, reach / stride + 1));
  // Even and odd outputs have their own sums, since one set is too few to keep the processor busy.
  Vector even[kColumns], odd[kColumns];
#pragma GCC unroll 8
  for (int b = 0; b < kColumns; ++b) {
    even[b] = load(sum + b * step);
    odd[b] = Vector{};
  }
  const auto at_border = [&](int64_t q) TARGET {
    const Vector along = load(gradient + q * step);
#pragma GCC unroll 8
    for (int b = 0; b < kColumns; ++b) {
      const int64_t column = q * stride + b - left;
      if (column >= 0 && column < s.width) even[b] += load(x + column * step) * along;
    }
  };
  for (int64_t q = 0; q < begin; ++q) at_border(q);
  int64_t q = begin;
  for (; q + 1 < end; q += 2) {
    const Vector along = load(gradient + q * step), next = load(gradient + (q + 1) * step);
    const float* const from = x + (q * stride - left) * step;
#pragma GCC unroll 8
    for (int b = 0; b < kColumns; ++b) {
      even[b] += load(from + b * step) * along;
      odd[b] += load(from + (b + stride) * step) * next;
    }
  }
  for (; q < s.out_width; ++q) at_border(q);
#pragma GCC unroll 8
  for (int b = 0; b < kColumns; ++b) {
    *reinterpret_cast<Vector*>(sum + b * step) = even[b] + odd[b];
  }
}

template <int kColumns>
TARGET void add_image(const Shape& s, const float* x, const float* gradient, float* sum) {
  for (int64_t channel = 0; channel < s.channels; channel += kLanes) {
    for (int64_t r = 0; r < s.out_height; ++r) {
      for (int64_t a = 0; a < s.kernel_height; ++a) {
        const int64_t row = r * s.stride[0] + a - s.pad[0];
        if (row < 0 || row >= s.height) continue;
        add_row<kColumns>(s, x + row * s.width * s.channels + channel,
                          gradient + r * s.out_width * s.channels + channel,
                          sum + a * kColumns * s.channels + channel);
      }
    }
  }
}
