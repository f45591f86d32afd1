// The loss of connectionist temporal classification (Graves et al. 2006) with its gradient, over threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interrupt.h"
#include "kernels.h"
#include "view.h"

namespace pylstm {

// The loss of sequence n is -log of the summed probability of all paths of its first lengths[n] steps that are its
// targets once repeats are joined and blanks taken out. d_logits gets the gradient of the sum of losses, each times its
// scale; where a loss is infinite, as it is of targets that need more steps than there are, or NaN, it is NaN.
//
// Computed in float64, but for the exponentials of float32 logits. Same bits for any number of threads and whatever is
// beside a sequence, on every ISA with fused multiply-adds.
template <class T>
struct CtcCall {
  ptrdiff_t steps = 0, batch = 0, classes = 0;
  View<const T> logits;
  // Nobody else may write to what these point to. A label is in 0..classes-1 and not `blank`; the targets of sequence n
  // are starts[n] .. starts[n + 1].
  const int64_t *lengths = nullptr, *labels = nullptr, *starts = nullptr;
  int64_t blank = 0;
  const double* scale = nullptr;  // of each loss; 0: it is not computed, but is 0
  bool zero_infinity = false;     // infinite losses are 0, and their gradients
  double* loss = nullptr;         // (batch,)
  T* d_logits = nullptr;          // (batch, steps, classes), or null
  Interrupted interrupted = nullptr;
};

// False: interrupted.
template <class T>
[[nodiscard]] bool ctc(const Kernels<T>& kernels, const Kernels<double>& of_states, const CtcCall<T>& call,
                       int threads);

}  // namespace pylstm
