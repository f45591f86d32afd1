// The arithmetic of a sum of squares.
#pragma once

#include "stage.h"
#include "wide.h"

namespace pylstm {
namespace {

// As doubles, in as many chains as a cache line has elements: the same bits on every ISA. Squares of float32 are exact
// in a double.
template <class T>
double sum_of_squares(const T* x, ptrdiff_t n) {
  constexpr int width = 64 / int(sizeof(T)), vectors = width / lanes<T>;
  Wide<T> chain[vectors];
  ptrdiff_t i = 0;
  for (; i + width <= n; i += width)
    for (int v = 0; v < vectors; ++v) chain[v].add_square(load(x + i + v * lanes<T>));
  for (int v = 0; v < vectors && i + v * lanes<T> < n; ++v)
    chain[v].add_square(load_some(x + i + v * lanes<T>, n - i - v * lanes<T>));
  double sums[width];
  for (int v = 0; v < vectors; ++v) chain[v].write(sums + v * lanes<T>);
  for (int half = width / 2; half; half /= 2)
    for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

}  // namespace
}  // namespace pylstm
