// The sum of the squares of an array, over threads: what clipping a norm asks for, and whether all numbers are finite.
#pragma once

#include <cstddef>

#include "kernels.h"

namespace pylstm {

// In double; the same bits for any number of threads, on every ISA. Of floats it is finite if and only if they are.
template <class T>
double sum_of_squares(const Kernels<T>& kernels, const T* x, ptrdiff_t n, int threads);

}  // namespace pylstm
