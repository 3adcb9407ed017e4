// The sizes of a convolution.
#pragma once

#include "common.h"

namespace cifar_jax {

struct Shape {
  int64_t images, height, width, channels;
  int64_t kernel_height, kernel_width, features;
  int64_t out_height, out_width;
  int64_t stride[2], pad[4];  // top, bottom, left, right
  int64_t groups;
  memory::data_type type;

  int64_t x_size() const { return height * width * channels; }
  int64_t y_size() const { return out_height * out_width * features; }
  int64_t kernel_size() const {
    return kernel_height * kernel_width * (channels / groups) * features;
  }
};

}  // namespace cifar_jax
