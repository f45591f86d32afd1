// One step of Adam on a parameter, over threads: the update that costs the most outside the layers, since it goes over
// every row of an embedding's table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace pylstm {

// A parameter of rows x width, its values before the step, which may be the parameter itself, and its state, all in C
// order. With `touched`, `gradient` holds these rows alone (ascending, each once) and the others have a gradient of
// zero, or stay as they are if `only_touched`.
//
// live: of every row, whether its state may be other than zero; null: all may. Rows that get one become so. The others
// stay as they are where there is no weight decay: a step of a gradient of zero changes no finite parameter of theirs.
template <class T>
struct AdamCall {
  T* parameter = nullptr;
  const T* value = nullptr;
  T *mean = nullptr, *square = nullptr;
  ptrdiff_t rows = 0, width = 0;
  const T* gradient = nullptr;
  const int64_t* touched = nullptr;
  ptrdiff_t touched_count = 0;
  bool only_touched = false;
  uint8_t* live = nullptr;
};

template <class T>
void adam(const Kernels<T>& kernels, const AdamCall<T>& call, const AdamStep<T>& step, int threads);

}  // namespace pylstm
