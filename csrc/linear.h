// y = x . W^T + b and its gradients, over threads.
#pragma once

#include <cstddef>

#include "interrupt.h"
#include "kernels.h"
#include "matmul_kernels.h"

namespace pylstm {

// Of all matrices each row is contiguous. x: (rows, in), weight: (out, in), bias: (out,) or null, y: (rows, out).
//
// Every element is a chain of fused multiply-adds that begins with its bias, cut into pieces of a fixed length: the
// same bits for any number of threads and rows, on every ISA that has them.
template <class T>
struct LinearCall {
  ptrdiff_t rows = 0, in = 0, out = 0;
  Matrix<const T> x, weight;
  const T* bias = nullptr;
  Matrix<T> y;
  Interrupted interrupted = nullptr;
};

// What is null is not wanted: d_x (rows, in), d_weight (out, in), d_bias (out,); the last two in C order.
template <class T>
struct LinearBackwardCall {
  ptrdiff_t rows = 0, in = 0, out = 0;
  Matrix<const T> x, weight, d_y;
  Matrix<T> d_x;
  T *d_weight = nullptr, *d_bias = nullptr;
  Interrupted interrupted = nullptr;
};

// False: interrupted.
template <class T>
[[nodiscard]] bool linear(const Kernels<T>& kernels, const LinearCall<T>& call, int threads);
template <class T>
[[nodiscard]] bool linear_backward(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int threads);

}  // namespace pylstm
