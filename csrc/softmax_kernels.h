// What one ISA offers for a softmax over classes: the border between linear_cross_entropy.cpp and softmax_kernel.h.
// Plain structs and pointers.
#pragma once

#include <cstddef>

namespace pylstm {

// Logits of some classes: those of class i at logits + i * row, a row of the batch in each column. So whatever goes
// over the classes goes on in every lane by itself, in the same order on every ISA.
template <class T>
struct SoftmaxArgs {
  T* logits = nullptr;
  ptrdiff_t row = 0, classes = 0;
  ptrdiff_t columns = 0;      // whole vectors; of add_up any number
  const T* bias = nullptr;    // of every class, or null
  const T* share = nullptr;   // of every class, or null; see each function
  T* most = nullptr;          // of every column
  T* at = nullptr;            // of every column; of first_most alone
  double* sum = nullptr;      // of every column
  const T* factor = nullptr;  // of every column
};

template <class T>
struct SoftmaxKernels {
  // logits += bias; most = the largest of each column (NaN is passed over); with shares, sum = those times the logits.
  void (*most)(const SoftmaxArgs<T>&) = nullptr;
  // most = the largest of each column, at = its class: the first one of several, NaN being larger than all.
  void (*first_most)(const SoftmaxArgs<T>&) = nullptr;
  // logits = exp(logits - most), sum = theirs.
  void (*exp)(const SoftmaxArgs<T>&) = nullptr;
  // logits = logits * factor - share.
  void (*scale)(const SoftmaxArgs<T>&) = nullptr;
  // to[i] = the sum of class i's row, added to what is there if `add`.
  void (*add_up)(const SoftmaxArgs<T>&, T* to, bool add) = nullptr;
};

}  // namespace pylstm
