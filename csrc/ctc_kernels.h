// What one ISA offers for the CTC loss: the border between ctc.cpp and ctc_kernel.h. Plain structs and pointers.
#pragma once

#include <cstddef>

namespace pylstm {

// The softmax of one row of logits. All is -inf but what is more: no class has a chance.
template <class T>
struct CtcRowArgs {
  const T* logits = nullptr;
  ptrdiff_t classes = 0;
  T* d_logits = nullptr;  // softmax * scale; or null. Another row than that of the logits.
  double scale = 0;
};

// One step of the forward or backward variables of one sequence, as logarithms, in whole cache lines of states. -inf is
// a chance of zero. A state is reached from itself, from the one before it, and, where skip is 0 (else -inf), from the
// one before that.
struct CtcStepArgs {
  ptrdiff_t states = 0;           // a multiple of 8
  const double* from = nullptr;   // forward: those of the step before, states -2 and -1, too. backward: alpha
  const double* skip = nullptr;   // of every state, and of two more behind them
  const double* label = nullptr;  // what each state's label has as its log probability at this step
  double* to = nullptr;           // forward: those of this step. backward: the chance of each state at this step
  // Backward alone: beta with this step's label, in place of that of the step behind; two states more. The log
  // probability of all paths.
  double* beta = nullptr;
  double total = 0;
};

template <class T>
struct CtcKernels {
  // The logarithm of the sum of the exponentials of the row.
  double (*row)(const CtcRowArgs<T>&) = nullptr;
  void (*forward)(const CtcStepArgs&) = nullptr;
  void (*backward)(const CtcStepArgs&) = nullptr;
};

}  // namespace pylstm
