// Shared by all handlers: the engine, a cache of primitives by shape, per-thread scratch memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <omp.h>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace cifar_jax {

namespace ffi = xla::ffi;
using dnnl::memory;
using Dims = memory::dims;

inline const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// Returns whether this processor, within ONEDNN_MAX_CPU_ISA, has these instructions.
inline bool has_isa(dnnl::cpu_isa isa) {
  const auto needed = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & needed) == needed;
}

// Limits oneDNN to one thread (it uses OpenMP's maximum). Calls are parallel over images instead,
// which needs no barrier inside a primitive.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;

 private:
  int before_;
};

// A buffer that is reused from call to call. Each thread has its own, so that concurrent calls do
// not share one.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  void* bytes(size_t size) {
    if (size > size_) {
      std::free(data_);
      size_ = (size + 4095) / 4096 * 4096;
      data_ = std::aligned_alloc(4096, size_);
      if (data_ == nullptr) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return data_;
  }

  template <typename T>
  T* of(size_t count) {
    return static_cast<T*>(bytes(count * sizeof(T)));
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Runs a primitive with a per-thread scratchpad: with a scratchpad managed by oneDNN, overlapping
// calls of a primitive give silently wrong results.
inline void run(const dnnl::primitive& primitive, std::unordered_map<int, memory> arguments,
                const memory::desc& scratchpad) {
  thread_local dnnl::stream stream(engine());
  thread_local Scratch scratch;
  if (scratchpad.get_size() > 0) {
    arguments.emplace(DNNL_ARG_SCRATCHPAD,
                      memory(scratchpad, engine(), scratch.bytes(scratchpad.get_size())));
  }
  primitive.execute(stream, arguments);
  stream.wait();
}

// A cache whose values are created at their first use, and never removed or moved.
template <typename Value>
class Kept {
 public:
  template <typename Make>
  const Value& get(const std::vector<int64_t>& key, Make make) {
    std::lock_guard<std::mutex> guard(mutex_);
    std::unique_ptr<Value>& value = values_[key];
    if (!value) {
      OneThread one;
      value = std::make_unique<Value>(make());
    }
    return *value;
  }

 private:
  std::mutex mutex_;
  std::map<std::vector<int64_t>, std::unique_ptr<Value>> values_;
};

// Splits [0, count) into one range per thread and calls `work(thread, first, last)` for each.
// Exceptions of the threads are rethrown here.
template <typename Work>
void in_parallel(int64_t count, int64_t threads, Work work) {
  threads = std::max<int64_t>(1, std::min(threads, count));
  std::vector<std::exception_ptr> errors(threads);
  auto part = [&](int64_t thread) {
    try {
      OneThread one;
      work(thread, count * thread / threads, count * (thread + 1) / threads);
    } catch (...) {
      errors[thread] = std::current_exception();
    }
  };
  if (threads == 1) {
    part(0);
  } else {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; ++thread) part(thread);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

// Turns exceptions in a handler into an XLA error, which is raised as an exception in Python.
template <typename Work>
ffi::Error guarded(Work work) {
  try {
    work();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  } catch (...) {
    return ffi::Error::Internal("oneDNN: unknown error");
  }
}

inline memory::data_type type_of(const ffi::AnyBuffer& buffer) {
  switch (buffer.element_type()) {
    case ffi::DataType::F32:
      return memory::data_type::f32;
    case ffi::DataType::BF16:
      return memory::data_type::bf16;
    default:
      throw std::invalid_argument("only float32 and bfloat16 are supported");
  }
}

inline size_t size_of(memory::data_type type) {
  return type == memory::data_type::bf16 ? 2 : 4;
}

}  // namespace cifar_jax
