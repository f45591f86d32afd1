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

}  // namespace
}  // namespace pylstm
