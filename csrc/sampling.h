// Symbols drawn from the softmax of rows of logits, over threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interrupt.h"
#include "kernels.h"
#include "matmul_kernels.h"

namespace pylstm {

// logits: (rows, symbols), each row contiguous. The same symbols for any number of threads. They are a caller's, who
// may write to them meanwhile: whatever they hold, what is drawn is a symbol.
template <class T>
struct SampleCall {
  ptrdiff_t rows = 0, symbols = 0;
  Matrix<const T> logits;
  double temperature = 1;           // 0: the largest logit, the first one of several
  ptrdiff_t top_k = 0;              // 1 .. symbols: so many of the largest logits; of equal ones the first
  double top_p = 1;                 // below 1: the smallest set of symbols that has so much of what remains then
  const double* chances = nullptr;  // of every row, in [0, 1); null where the temperature is 0
  int64_t* drawn = nullptr;         // of every row
  Interrupted interrupted = nullptr;
};

// The first row that gives no probabilities: with NaN, +inf, or nothing but -inf. Their number where there is none.
template <class T>
ptrdiff_t first_without_chances(const SampleCall<T>& call);

// False: interrupted.
template <class T>
[[nodiscard]] bool sample(const Kernels<double>& kernels, const SampleCall<T>& call, int threads);

}  // namespace pylstm
