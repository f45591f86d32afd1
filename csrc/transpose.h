// A square of vectors, transposed in registers.
#pragma once

#include <utility>

#include "simd/vec.h"

namespace pylstm {
namespace {

// One step of transposing a square of vectors: its blocks of SIZE x SIZE change places across the diagonal.
template <class T, int SIZE, int... I>
inline void swap_blocks(vec<T> (&square)[lanes<T>], std::integer_sequence<int, I...>) {
#pragma GCC unroll 16
  for (int i = 0; i < lanes<T>; ++i) {
    if (i & SIZE) continue;
    const vec<T> upper = square[i], lower = square[i + SIZE];
    square[i] = __builtin_shufflevector(upper, lower, (I & SIZE ? lanes<T> + I - SIZE : I)...);
    square[i + SIZE] = __builtin_shufflevector(upper, lower, (I & SIZE ? lanes<T> + I : I + SIZE)...);
  }
}

template <class T, int SIZE = lanes<T> / 2>
inline void transpose(vec<T> (&square)[lanes<T>]) {
  if constexpr (SIZE > 0) {
    swap_blocks<T, SIZE>(square, std::make_integer_sequence<int, lanes<T>>());
    transpose<T, SIZE / 2>(square);
  }
}

// to[k * to_step + unit] = from[unit * unit_stride + k], for all units, then zeros up to `width`.
template <class T>
inline void copy_across(const T* from, ptrdiff_t unit_stride, ptrdiff_t units, ptrdiff_t k_count, T* to,
                        ptrdiff_t to_step, ptrdiff_t width) {
  for (ptrdiff_t unit = 0; unit < width; unit += lanes<T>)
    for (ptrdiff_t k = 0; k < k_count; k += lanes<T>) {
      const ptrdiff_t steps = k_count - k;
      vec<T> square[lanes<T>];
#pragma GCC unroll 16
      for (int i = 0; i < lanes<T>; ++i)
        square[i] = unit + i < units ? load_some(from + (unit + i) * unit_stride + k, steps) : vec<T>{};
      transpose<T>(square);
      T* const row = to + k * to_step + unit;
#pragma GCC unroll 16
      for (int i = 0; i < lanes<T>; ++i)
        if (i < steps) store_some(row + i * to_step, square[i], width - unit);
    }
}

}  // namespace
}  // namespace pylstm
