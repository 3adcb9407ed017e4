// Convolution and its gradients over NHWC images and HWIO kernels, a few images at a time.

#include <unistd.h>

#include <string_view>

#include "depthwise.h"
#include "elementwise.h"
#include "half_vectors.h"
#include "kernel_gradient.h"
#include "small_maps.h"
#include "winograd.h"

namespace cifar_jax {
namespace {

// Images are processed in chunks whose values fit into three quarters of the L2 cache, so that the
// gradients of the input and of the kernel read the masked gradient from there.
int64_t cache_bytes() {
  static const int64_t level2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::max<int64_t>(level2, 512 * 1024) * 3 / 4;
}

Shape shape_of(const ffi::AnyBuffer& x, const ffi::AnyBuffer& kernel, ffi::AnyBuffer::Dimensions y,
               ffi::Span<const int64_t> strides, ffi::Span<const int64_t> pads, int64_t groups) {
  auto from = x.dimensions(), by = kernel.dimensions();
  if (from.size() != 4 || by.size() != 4 || y.size() != 4 || strides.size() != 2 ||
      pads.size() != 4) {
    throw std::invalid_argument("a convolution takes NHWC images and an HWIO kernel");
  }
  return Shape{from[0],    from[1], from[2], from[3],
               by[0],      by[1],   by[3],   y[1],
               y[2],       {strides[0], strides[1]},
               {pads[0], pads[1], pads[2], pads[3]},
               groups,     type_of(x)};
}

// 'direct' never uses Winograd's algorithm, 'winograd' where it is supported, and 'auto' where it is
// faster, too.
bool uses_winograd(const Shape& s, std::string_view algorithm, bool gradient) {
  if (algorithm == "direct" || !supports_winograd(s)) return false;
  return algorithm == "winograd" || winograd_pays(s, gradient);
}

// The primitives of one shape, for `images` images at a time.
class Convolution {
 public:
  Convolution(const Shape& s, int64_t images, bool bias) {
    const memory::desc x({images, s.channels, s.height, s.width}, s.type,
                         memory::format_tag::nhwc);
    const memory::desc y({images, s.features, s.out_height, s.out_width}, s.type,
                         memory::format_tag::nhwc);
    const int64_t channels = s.channels / s.groups, features = s.features / s.groups;
    Dims size{features, channels, s.kernel_height, s.kernel_width};
    Dims steps{1, s.features, s.kernel_width * channels * s.features, channels * s.features};
    if (s.groups > 1) {
      size.insert(size.begin(), s.groups);
      steps.insert(steps.begin(), features);
    }
    const memory::desc any(size, s.type, memory::format_tag::any);
    const memory::desc any_sum(size, memory::data_type::f32, memory::format_tag::any);
    kernel = memory::desc(size, s.type, steps);
    bias_md = bias ? memory::desc({s.features}, s.type, memory::format_tag::x) : memory::desc();

    const Dims strides{s.stride[0], s.stride[1]};
    const Dims low{s.pad[0], s.pad[2]}, high{s.pad[1], s.pad[3]};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const auto direct = dnnl::algorithm::convolution_direct;
    forward_pd = {engine(), dnnl::prop_kind::forward_training, direct, x, any, bias_md, y,
                  strides,  low, high, attributes};
    forward = dnnl::convolution_forward(forward_pd);
    // The hint of the gradients is a plain convolution, since they support no bias.
    const dnnl::convolution_forward::primitive_desc hint(
        engine(), dnnl::prop_kind::forward_training, direct, x, any, y, strides, low, high,
        attributes);
    to_x_pd = {engine(), direct, x, any, y, strides, low, high, hint, attributes};
    to_x = dnnl::convolution_backward_data(to_x_pd);
    to_kernel_pd = {engine(), direct, x, any_sum, y, strides, low, high, hint, attributes};
    to_kernel = dnnl::convolution_backward_weights(to_kernel_pd);
  }

  memory::desc kernel, bias_md;
  dnnl::convolution_forward::primitive_desc forward_pd;
  dnnl::convolution_backward_data::primitive_desc to_x_pd;
  dnnl::convolution_backward_weights::primitive_desc to_kernel_pd;
  dnnl::primitive forward, to_x, to_kernel;
};

const Convolution& convolution(const Shape& s, int64_t images, bool bias) {
  static Kept<Convolution> kept;
  const std::vector<int64_t> key{images,       s.height,    s.width,      s.channels,
                                 s.kernel_height, s.kernel_width, s.features, s.out_height,
                                 s.out_width,  s.stride[0], s.stride[1],  s.pad[0],
                                 s.pad[1],     s.pad[2],    s.pad[3],     s.groups,
                                 static_cast<int64_t>(s.type), bias};
  return kept.get(key, [&] { return Convolution(s, images, bias); });
}

int64_t images_together(const Shape& s, int64_t images) {
  const int64_t bytes = (2 * s.x_size() + s.y_size()) * size_of(s.type);
  return std::max<int64_t>(1, std::min(images, cache_bytes() / std::max<int64_t>(1, bytes)));
}

// Splits the images [first, last) into chunks and calls `work(first, count)` for each.
template <typename Work>
void in_groups(int64_t first, int64_t last, int64_t together, Work work) {
  for (; first < last; first += together) work(first, std::min(together, last - first));
}

// Returns the data in the layout `to`, converted into `scratch` if `from` is another layout.
void* in_layout(const memory::desc& from, void* data, const memory::desc& to, Scratch& scratch) {
  if (from == to) return data;
  memory source(from, engine(), data), target(to, engine(), scratch.bytes(to.get_size()));
  dnnl::reorder::primitive_desc pd(engine(), from, engine(), to);
  run(dnnl::reorder(pd), {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}}, memory::desc());
  return target.get_data_handle();
}

char* at(void* data, int64_t offset, memory::data_type type) {
  return static_cast<char*>(data) + offset * static_cast<int64_t>(size_of(type));
}

ffi::Error forward(ffi::AnyBuffer x, ffi::AnyBuffer kernel, ffi::RemainingArgs rest,
                   ffi::Result<ffi::AnyBuffer> y, ffi::Span<const int64_t> strides,
                   ffi::Span<const int64_t> pads, int64_t groups, bool relu,
                   std::string_view algorithm, int64_t threads) {
  return guarded([&] {
    const Shape s = shape_of(x, kernel, y->dimensions(), strides, pads, groups);
    const bool winograd = uses_winograd(s, algorithm, false);
    thread_local Scratch for_transformed;
    float* transformed = nullptr;
    if (winograd) {
      transformed = for_transformed.of<float>(winograd_size(s));
      winograd_kernel(s, kernel.typed_data<float>(), transformed);
    }
    const bool bias = rest.size() > 0;
    void* bias_data = bias ? rest.get<ffi::AnyBuffer>(0)->untyped_data() : nullptr;
    in_parallel(s.images, threads, [&](int64_t, int64_t first, int64_t last) {
      if (winograd) {
        winograd_forward(s, last - first, x.typed_data<float>() + first * s.x_size(), transformed,
                         static_cast<float*>(bias_data), relu,
                         y->typed_data<float>() + first * s.y_size());
        return;
      }
      if (is_small_map(s, last - first)) {
        small_map_forward(s, last - first, x.typed_data<float>() + first * s.x_size(),
                          kernel.typed_data<float>(), static_cast<float*>(bias_data), relu,
                          y->typed_data<float>() + first * s.y_size());
        return;
      }
      if (has_half_vectors(s)) {
        half_vector_forward(s, last - first, x.typed_data<float>() + first * s.x_size(),
                            kernel.typed_data<float>(), static_cast<float*>(bias_data), relu,
                            y->typed_data<float>() + first * s.y_size());
        return;
      }
      thread_local Scratch for_kernel;
      void* weights = nullptr;
      memory::desc layout;
      in_groups(first, last, images_together(s, last - first), [&](int64_t image, int64_t count) {
        const Convolution& c = convolution(s, count, bias);
        if (weights == nullptr || layout != c.forward_pd.weights_desc()) {
          layout = c.forward_pd.weights_desc();
          weights = in_layout(c.kernel, kernel.untyped_data(), layout, for_kernel);
        }
        std::unordered_map<int, memory> arguments{
            {DNNL_ARG_SRC, memory(c.forward_pd.src_desc(), engine(),
                                  at(x.untyped_data(), image * s.x_size(), s.type))},
            {DNNL_ARG_WEIGHTS, memory(layout, engine(), weights)},
            {DNNL_ARG_DST, memory(c.forward_pd.dst_desc(), engine(),
                                  at(y->untyped_data(), image * s.y_size(), s.type))}};
        if (bias) arguments.emplace(DNNL_ARG_BIAS, memory(c.bias_md, engine(), bias_data));
        run(c.forward, std::move(arguments), c.forward_pd.scratchpad_desc());
        // While the images are in the cache. oneDNN's fused ReLU would turn NaN into 0.
        if (relu) {
          rectify(at(y->untyped_data(), image * s.y_size(), s.type), count * s.y_size(), s.type);
        }
      });
    });
  });
}

// Sums over more positions than this are computed as sums of partial sums: float32 is accurate
// enough for thousands of terms, but not for hundreds of thousands.
constexpr int64_t kTerms = 4096;

// The kernel gradient of a thread's images, HWIO in float32.
class KernelSum {
 public:
  KernelSum(const Shape& s, bool winograd)
      : total(s.kernel_size(), 0.f), shape_(s), winograd_(winograd) {}

  void add(int64_t images, void* x, void* gradient) {
    if (winograd_) {
      start(winograd_size(shape_));
      winograd_add_products(shape_, images, static_cast<float*>(x), static_cast<float*>(gradient),
                            part_.data());
    } else if (has_depthwise_kernel_gradient(shape_)) {
      start(shape_.kernel_size());
      depthwise_add_to_kernel(shape_, images, static_cast<float*>(x),
                              static_cast<float*>(gradient), part_.data());
    } else if (has_half_vector_kernel_gradient(shape_)) {
      start(shape_.kernel_size());
      half_vector_add_to_kernel(shape_, images, static_cast<float*>(x),
                                static_cast<float*>(gradient), part_.data());
    } else if (has_own_kernel_gradient(shape_)) {
      start(shape_.kernel_size());
      add_kernel_gradient(shape_, images, static_cast<float*>(x), static_cast<float*>(gradient),
                          part_.data());
    } else {
      const Convolution& c = convolution(shape_, images, false);
      const memory::desc layout = c.to_kernel_pd.diff_weights_desc();
      if (layout != layout_) finish();
      layout_ = layout;
      hwio_ = memory::desc(c.kernel.get_dims(), memory::data_type::f32, c.kernel.get_strides());
      start(layout.get_size() / sizeof(float));
      thread_local Scratch scratch;
      float* product = scratch.of<float>(part_.size());
      run(c.to_kernel,
          {{DNNL_ARG_SRC, memory(c.to_kernel_pd.src_desc(), engine(), x)},
           {DNNL_ARG_DIFF_DST, memory(c.to_kernel_pd.diff_dst_desc(), engine(), gradient)},
           {DNNL_ARG_DIFF_WEIGHTS, memory(layout, engine(), product)}},
          c.to_kernel_pd.scratchpad_desc());
      add_to(part_.data(), product, part_.size());
    }
    terms_ += images * shape_.out_height * shape_.out_width;
    if (terms_ >= kTerms) finish();
  }

  // Adds the current partial sum to the total.
  void finish() {
    if (terms_ == 0) return;
    terms_ = 0;
    if (winograd_) {
      winograd_add_to_kernel(shape_, part_.data(), total.data());
      return;
    }
    thread_local Scratch scratch;
    void* part = part_.data();
    if (layout_) part = in_layout(layout_, part, hwio_, scratch);
    add_to(total.data(), static_cast<float*>(part), shape_.kernel_size());
  }

  std::vector<float> total;

 private:
  void start(size_t size) {
    if (terms_ == 0) part_.assign(size, 0.f);
  }

  const Shape& shape_;
  const bool winograd_;
  std::vector<float> part_;
  memory::desc layout_, hwio_;
  int64_t terms_ = 0;
};

// Arguments: x, kernel, gradient for y, and y if there is a ReLU. Results: the gradients for the
// kernel, for the bias if there is one, and for x if `to_input`.
ffi::Error backward(ffi::AnyBuffer x, ffi::AnyBuffer kernel, ffi::AnyBuffer gradient,
                    ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> to_kernel,
                    ffi::RemainingRets more, ffi::Span<const int64_t> strides,
                    ffi::Span<const int64_t> pads, int64_t groups, bool bias, bool relu,
                    bool to_input, std::string_view algorithm, int64_t threads) {
  return guarded([&] {
    const Shape s = shape_of(x, kernel, gradient.dimensions(), strides, pads, groups);
    const Shape turned = to_x_shape(s);
    const bool winograd_to_kernel = uses_winograd(s, algorithm, true);
    const bool winograd_to_x = to_input && uses_winograd(turned, algorithm, true);
    void* y = relu ? rest.get<ffi::AnyBuffer>(0)->untyped_data() : nullptr;
    void* to_bias = bias ? (*more.get<ffi::AnyBuffer>(0))->untyped_data() : nullptr;
    void* to_x = to_input ? (*more.get<ffi::AnyBuffer>(bias))->untyped_data() : nullptr;
    threads = std::max<int64_t>(1, std::min(threads, s.images));
    std::vector<std::vector<float>> kernel_sums(threads), bias_sums(threads);
    thread_local Scratch for_turned, for_transformed;
    float* transformed = nullptr;
    if (winograd_to_x) {
      float* const weights = for_turned.of<float>(s.kernel_size());
      turn_kernel(s, kernel.typed_data<float>(), weights);
      transformed = for_transformed.of<float>(winograd_size(turned));
      winograd_kernel(turned, weights, transformed);
    }

    in_parallel(s.images, threads, [&](int64_t thread, int64_t first, int64_t last) {
      thread_local Scratch for_kernel, for_mask;
      KernelSum kernel_sum(s, winograd_to_kernel);
      std::vector<float> bias_part(bias ? s.features : 0);
      std::vector<float>& bias_sum = bias_sums[thread];
      bias_sum.assign(s.features, 0.f);
      void* weights = nullptr;
      memory::desc layout;
      const bool small = !winograd_to_kernel && is_small_map(s, last - first);
      int64_t together = small ? last - first : images_together(s, last - first);
      if (winograd_to_kernel) together = std::max(together, winograd_images(s));
      in_groups(first, last, together, [&](int64_t image, int64_t count) {
        void* from = at(gradient.untyped_data(), image * s.y_size(), s.type);
        const int64_t positions = count * s.out_height * s.out_width;
        if (relu) {
          void* masked = for_mask.bytes(positions * s.features * size_of(s.type));
          mask(masked, from, at(y, image * s.y_size(), s.type), positions * s.features, s.type);
          from = masked;
        }
        if (bias) {
          std::fill(bias_part.begin(), bias_part.end(), 0.f);
          add_rows(bias_part.data(), from, positions, s.features, s.type);
          add_to(bias_sum.data(), bias_part.data(), s.features);
        }
        if (small) {
          auto* small_from = static_cast<float*>(from);
          if (to_input) {
            small_map_to_x(s, count, kernel.typed_data<float>(), small_from,
                           static_cast<float*>(to_x) + image * s.x_size());
          }
          small_map_add_to_kernel(s, count, x.typed_data<float>() + image * s.x_size(),
                                  small_from, kernel_sum.total.data());
          return;
        }
        if (winograd_to_x) {
          winograd_forward(turned, count, static_cast<float*>(from), transformed, nullptr, false,
                           static_cast<float*>(to_x) + image * s.x_size());
        } else if (to_input && has_half_vectors(turned)) {
          if (weights == nullptr) {
            weights = for_kernel.of<float>(s.kernel_size());
            turn_kernel(s, kernel.typed_data<float>(), static_cast<float*>(weights));
          }
          half_vector_forward(turned, count, static_cast<float*>(from),
                              static_cast<float*>(weights), nullptr, false,
                              static_cast<float*>(to_x) + image * s.x_size());
        } else if (to_input) {
          const Convolution& c = convolution(s, count, false);
          if (weights == nullptr || layout != c.to_x_pd.weights_desc()) {
            layout = c.to_x_pd.weights_desc();
            weights = in_layout(c.kernel, kernel.untyped_data(), layout, for_kernel);
          }
          run(c.to_x,
              {{DNNL_ARG_DIFF_DST, memory(c.to_x_pd.diff_dst_desc(), engine(), from)},
               {DNNL_ARG_WEIGHTS, memory(layout, engine(), weights)},
               {DNNL_ARG_DIFF_SRC, memory(c.to_x_pd.diff_src_desc(), engine(),
                                          at(to_x, image * s.x_size(), s.type))}},
              c.to_x_pd.scratchpad_desc());
        }
        kernel_sum.add(count, at(x.untyped_data(), image * s.x_size(), s.type), from);
      });
      kernel_sum.finish();
      kernel_sums[thread] = std::move(kernel_sum.total);
    });

    write_sum(to_kernel->untyped_data(), kernel_sums, s.type);
    if (bias) write_sum(to_bias, bias_sums, s.type);
  });
}

}  // namespace
}  // namespace cifar_jax

// Returns whether this processor, within ONEDNN_MAX_CPU_ISA, has bfloat16 instructions.
extern "C" int has_bfloat16() { return cifar_jax::has_isa(dnnl::cpu_isa::avx512_core_bf16); }

// Returns whether 'auto' uses Winograd's algorithm for a float32 convolution with stride 1 and
// outputs as large as the inputs, forward or for its gradients.
extern "C" int chooses_winograd(int64_t images, int64_t height, int64_t width,
                                int64_t kernel_height, int64_t kernel_width, int64_t channels,
                                int64_t features, int gradient) {
  const int64_t top = (kernel_height - 1) / 2, left = (kernel_width - 1) / 2;
  const cifar_jax::Shape s{images,        height,       width,    channels,
                           kernel_height, kernel_width, features, height,
                           width,         {1, 1},       {top, top, left, left},
                           1,             cifar_jax::memory::data_type::f32};
  return cifar_jax::uses_winograd(s, "auto", gradient);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ConvForward, cifar_jax::forward,
                              xla::ffi::Ffi::Bind()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<xla::ffi::Span<const int64_t>>("strides")
                                  .Attr<xla::ffi::Span<const int64_t>>("pads")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("relu")
                                  .Attr<std::string_view>("algorithm")
                                  .Attr<int64_t>("threads"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(ConvBackward, cifar_jax::backward,
                              xla::ffi::Ffi::Bind()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("strides")
                                  .Attr<xla::ffi::Span<const int64_t>>("pads")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("bias")
                                  .Attr<bool>("relu")
                                  .Attr<bool>("to_input")
                                  .Attr<std::string_view>("algorithm")
                                  .Attr<int64_t>("threads"));
