// y = x . W^T + b and its gradients, over threads.
#pragma once

#include <cstddef>

#include "interrupt.h"
#include "kernels.h"
#include "matmul_kernels.h"
#include "memory.h"

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

// A copy of a layer's weight and bias, packed once, for calls of few rows, in which packing would take most of the
// time. The bits of `linear`. Never changed once made.
template <class T>
class PackedLinear {
 public:
  // Of the call: the sizes but for rows, weight and bias.
  PackedLinear(const Kernels<T>& kernels, const LinearCall<T>& call);

  ptrdiff_t in() const { return in_; }
  ptrdiff_t out() const { return out_; }
  double cycles(ptrdiff_t rows) const;
  // x: (rows, in), y: (rows, out), both in C order.
  void run(const T* x, ptrdiff_t rows, T* y, int threads) const;

 private:
  void multiply(const T* x, ptrdiff_t rows, ptrdiff_t group_begin, ptrdiff_t group_end, T* y) const;

  const Kernels<T>& kernels_;
  const ptrdiff_t in_, out_;
  const bool has_bias_;
  const ptrdiff_t group_;  // columns that are packed together: what threads share
  AlignedBuffer<T> bias_, panels_;
};

}  // namespace pylstm
