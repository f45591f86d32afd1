// The cross-entropy of a linear layer's outputs, with all gradients, over threads: the logits exist for a block of rows
// at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interrupt.h"
#include "kernels.h"

namespace pylstm {

// Of all matrices each row is contiguous. hidden: (.., in), weight: (out, in), bias: (out,) or null.
//
// Row r of those that count is row places[r] of hidden. Its loss, with p the softmax of its logits, is
//     -label_weight[r] log p[labels[r]] - sum over classes of share[class] log p[class]
// and d_* are the gradients of the sum of all losses times `scale`.
//
// Same bits for any number of threads, on every ISA with fused multiply-adds.
template <class T>
struct LinearCrossEntropyCall {
  ptrdiff_t rows = 0, in = 0, out = 0;
  Matrix<const T> hidden, weight;
  const T* bias = nullptr;
  const int64_t *places = nullptr, *labels = nullptr;
  const double* label_weight = nullptr;
  const T* share = nullptr;  // or null: zeros
  double scale = 0;
  double* loss = nullptr;      // (rows,)
  int64_t* largest = nullptr;  // (rows,), or null: the class of the largest logit, the first of several and of NaN
  // Null where no gradients are wanted, all of them or that to hidden. Of that, rows that do not count are left alone.
  Matrix<T> d_hidden;
  T *d_weight = nullptr, *d_bias = nullptr;
  Interrupted interrupted = nullptr;
};

// False: interrupted.
template <class T>
[[nodiscard]] bool linear_cross_entropy(const Kernels<T>& kernels, const LinearCrossEntropyCall<T>& call, int threads);

}  // namespace pylstm
