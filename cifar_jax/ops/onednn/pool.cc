// Pooling of 2x2 windows with stride 2, and its gradient, in one pass over NHWC maps. oneDNN gives
// the gradient of equal values to the first of them; here it is split as by our XLA code.

#include <cstring>

#include "elementwise.h"

namespace cifar_jax {
namespace {

struct Pool {
  int64_t height, width, channels;

  int64_t rows() const { return height / 2; }
  int64_t columns() const { return width / 2; }
  int64_t x_size() const { return height * width * channels; }
  int64_t y_size() const { return rows() * columns() * channels; }
  // The offset of the first value of a window.
  int64_t at(int64_t row, int64_t column) const {
    return (2 * row * width + 2 * column) * channels;
  }
};

constexpr int64_t kLanes = 8;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

// Operations on the values of a window, for one channel (float) or eight (Vector).
#define LARGER(a, b) ((b) > (a) ? (b) : (a))
#define OR_NAN(value, larger) ((value) != (value) ? (value) : (larger))  // NaN wins, as in XLA
// The gradients for a and b, from the gradient g for their maximum. As in XLA, the gradient for the
// smaller one is 0 * g, which is NaN if g is infinite.
#define TO_A(a, b, g) ((b) > (a) ? (g) * 0.f : ((b) == (a) ? (g) * 0.5f : (g)))
#define TO_B(a, b, g) ((b) > (a) ? (g) : ((b) == (a) ? (g) * 0.5f : (g) * 0.f))

// The values of a 2x2 window, for one channel or eight.
template <typename T>
struct Window {
  T up_left, up, left, last;

  __attribute__((always_inline)) Window(const float* at, int64_t right, int64_t below) {
    std::memcpy(&up_left, at, sizeof(T));
    std::memcpy(&up, at + right, sizeof(T));
    std::memcpy(&left, at + below, sizeof(T));
    std::memcpy(&last, at + below + right, sizeof(T));
  }
};

template <typename T>
__attribute__((always_inline)) inline void max_of(const float* x, int64_t right, int64_t below,
                                                  float* y) {
  const Window<T> w(x, right, below);
  const T first = LARGER(w.up_left, w.left), second = LARGER(w.up, w.last);
  const T largest = LARGER(first, second);
  const T result =
      OR_NAN(w.up_left, OR_NAN(w.up, OR_NAN(w.left, OR_NAN(w.last, largest))));
  std::memcpy(y, &result, sizeof(T));
}

template <typename T>
__attribute__((always_inline)) inline void share_max(const float* x, int64_t right, int64_t below,
                                                     const float* gradient, float* to_x) {
  const Window<T> w(x, right, below);
  const T first = LARGER(w.up_left, w.left), second = LARGER(w.up, w.last);
  T all;
  std::memcpy(&all, gradient, sizeof(T));
  const T to_first = TO_A(first, second, all), to_second = TO_B(first, second, all);
  const T to_up_left = TO_A(w.up_left, w.left, to_first);
  const T to_left = TO_B(w.up_left, w.left, to_first);
  const T to_up = TO_A(w.up, w.last, to_second), to_last = TO_B(w.up, w.last, to_second);
  std::memcpy(to_x, &to_up_left, sizeof(T));
  std::memcpy(to_x + right, &to_up, sizeof(T));
  std::memcpy(to_x + below, &to_left, sizeof(T));
  std::memcpy(to_x + below + right, &to_last, sizeof(T));
}

template <typename T>
__attribute__((always_inline)) inline void max_forward(const Pool& p, const float* x, float* y) {
  constexpr int64_t lanes = sizeof(T) / sizeof(float);
  const int64_t right = p.channels, below = p.width * p.channels;
  for (int64_t row = 0; row < p.rows(); ++row) {
    for (int64_t column = 0; column < p.columns(); ++column, y += right) {
      const float* from = x + p.at(row, column);
      int64_t i = 0;
      for (; i + lanes <= right; i += lanes) max_of<T>(from + i, right, below, y + i);
      for (; i < right; ++i) max_of<float>(from + i, right, below, y + i);
    }
  }
}

template <typename T>
__attribute__((always_inline)) inline void max_backward(const Pool& p, const float* x,
                                                        const float* gradient, float* to_x) {
  constexpr int64_t lanes = sizeof(T) / sizeof(float);
  const int64_t right = p.channels, below = p.width * p.channels;
  for (int64_t row = 0; row < p.rows(); ++row) {
    for (int64_t column = 0; column < p.columns(); ++column, gradient += right) {
      const float* from = x + p.at(row, column);
      float* to = to_x + p.at(row, column);
      int64_t i = 0;
      for (; i + lanes <= right; i += lanes) {
        share_max<T>(from + i, right, below, gradient + i, to + i);
      }
      for (; i < right; ++i) share_max<float>(from + i, right, below, gradient + i, to + i);
    }
  }
}

__attribute__((target("avx2"))) void max_forward_avx2(const Pool& p, const float* x, float* y) {
  max_forward<Vector>(p, x, y);
}

__attribute__((target("avx2"))) void max_backward_avx2(const Pool& p, const float* x,
                                                       const float* gradient, float* to_x) {
  max_backward<Vector>(p, x, gradient, to_x);
}

FOR_EACH_PROCESSOR void average_forward(Pool p, const float* x, float* y) {
  for (int64_t row = 0; row < p.rows(); ++row) {
    for (int64_t column = 0; column < p.columns(); ++column, y += p.channels) {
      const float* __restrict a = x + p.at(row, column);
      const float* __restrict b = a + p.channels;
      const float* __restrict c = a + p.width * p.channels;
      const float* __restrict d = c + p.channels;
      float* __restrict out = y;
      for (int64_t i = 0; i < p.channels; ++i) out[i] = ((a[i] + c[i]) + (b[i] + d[i])) * 0.25f;
    }
  }
}

FOR_EACH_PROCESSOR void average_backward(Pool p, const float* gradient, float* to_x) {
  for (int64_t row = 0; row < p.rows(); ++row) {
    for (int64_t column = 0; column < p.columns(); ++column, gradient += p.channels) {
      const int64_t below = p.width * p.channels;
      const float* __restrict from = gradient;
      float* __restrict out = to_x + p.at(row, column);
      for (int64_t i = 0, j = p.channels; i < p.channels; ++i, ++j) {
        out[i] = out[j] = out[below + i] = out[below + j] = 0.25f * from[i];
      }
    }
  }
}

// Sets the gradient of values in no window to zero: the last row or column of odd sizes.
void clear_rest(const Pool& p, float* to_x) {
  const size_t bytes = p.channels * sizeof(float);
  if (p.width % 2) {
    for (int64_t row = 0; row < p.height; ++row) {
      std::memset(to_x + ((row + 1) * p.width - 1) * p.channels, 0, bytes);
    }
  }
  if (p.height % 2) {
    std::memset(to_x + (p.height - 1) * p.width * p.channels, 0, p.width * bytes);
  }
}

// Returns one image's values in float32: the buffer itself, or a copy converted into `room`.
const float* read(const void* data, int64_t image, int64_t size, memory::data_type type,
                  Scratch& room) {
  if (type == memory::data_type::f32) return static_cast<const float*>(data) + image * size;
  float* wide = room.of<float>(size);
  widen(wide, static_cast<const uint16_t*>(data) + image * size, size);
  return wide;
}

// Calls `work(values)`, which writes one image's results in float32; converts them if necessary.
template <typename Work>
void write(void* data, int64_t image, int64_t size, memory::data_type type, Work work) {
  if (type == memory::data_type::f32) {
    work(static_cast<float*>(data) + image * size);
    return;
  }
  thread_local Scratch room;
  float* wide = room.of<float>(size);
  work(wide);
  narrow(static_cast<uint16_t*>(data) + image * size, wide, size);
}

Pool pool_of(ffi::AnyBuffer::Dimensions x, ffi::AnyBuffer::Dimensions y) {
  if (x.size() != 4 || y.size() != 4 || x[1] / 2 != y[1] || x[2] / 2 != y[2]) {
    throw std::invalid_argument("pooling takes NHWC maps and halves their height and width");
  }
  return Pool{x[1], x[2], x[3]};
}

ffi::Error forward(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, bool largest,
                   int64_t threads) {
  return guarded([&] {
    const Pool p = pool_of(x.dimensions(), y->dimensions());
    const bool avx2 = __builtin_cpu_supports("avx2");
    const memory::data_type type = type_of(x);
    in_parallel(x.dimensions()[0], threads, [&](int64_t, int64_t first, int64_t last) {
      thread_local Scratch room;
      for (int64_t image = first; image < last; ++image) {
        const float* from = read(x.untyped_data(), image, p.x_size(), type, room);
        write(y->untyped_data(), image, p.y_size(), type, [&](float* to) {
          if (!largest) return average_forward(p, from, to);
          avx2 ? max_forward_avx2(p, from, to) : max_forward<float>(p, from, to);
        });
      }
    });
  });
}

// Arguments: gradient for y, and x for max-pooling. Result: gradient for x.
ffi::Error backward(ffi::AnyBuffer gradient, ffi::RemainingArgs rest,
                    ffi::Result<ffi::AnyBuffer> to_x, bool largest, int64_t threads) {
  return guarded([&] {
    const Pool p = pool_of(to_x->dimensions(), gradient.dimensions());
    const bool avx2 = __builtin_cpu_supports("avx2");
    const memory::data_type type = type_of(gradient);
    const void* x = largest ? rest.get<ffi::AnyBuffer>(0)->untyped_data() : nullptr;
    in_parallel(gradient.dimensions()[0], threads, [&](int64_t, int64_t first, int64_t last) {
      thread_local Scratch for_gradient, for_x;
      for (int64_t image = first; image < last; ++image) {
        const float* from = read(gradient.untyped_data(), image, p.y_size(), type, for_gradient);
        write(to_x->untyped_data(), image, p.x_size(), type, [&](float* to) {
          clear_rest(p, to);
          if (!largest) return average_backward(p, from, to);
          const float* values = read(x, image, p.x_size(), type, for_x);
          avx2 ? max_backward_avx2(p, values, from, to) : max_backward<float>(p, values, from, to);
        });
      }
    });
  });
}

}  // namespace
}  // namespace cifar_jax

XLA_FFI_DEFINE_HANDLER_SYMBOL(PoolForward, cifar_jax::forward,
                              xla::ffi::Ffi::Bind()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<bool>("largest")
                                  .Attr<int64_t>("threads"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(PoolBackward, cifar_jax::backward,
                              xla::ffi::Ffi::Bind()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<bool>("largest")
                                  .Attr<int64_t>("threads"));
