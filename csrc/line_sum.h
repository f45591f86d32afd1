// Sums along a row.
#pragma once

#include "simd/vec.h"

namespace pylstm {
namespace {

// A sum over k in as many chains as a cache line has elements, whatever the width of a vector: the same bits on every
// ISA.
template <class T>
struct LineSum {
  static constexpr int width = 64 / int(sizeof(T)), vectors = width / lanes<T>;
  vec<T> chain[vectors] = {};

  void add(const T* x, const T* w) {
    for (int v = 0; v < vectors; ++v) chain[v] = fma(load(x + v * lanes<T>), load(w + v * lanes<T>), chain[v]);
  }
  void add_partial(const T* x, const T* w, ptrdiff_t n) {
    for (int v = 0; v < vectors && v * lanes<T> < n; ++v) {
      const ptrdiff_t left = n - v * lanes<T>, some = left < lanes<T> ? left : lanes<T>;
      chain[v] = fma(load_partial(x + v * lanes<T>, some), load_partial(w + v * lanes<T>, some), chain[v]);
    }
  }
  // The upper half on the lower half, as long as a half is whole vectors.
  vec<T> folded() const {
    vec<T> sums[vectors];
    for (int v = 0; v < vectors; ++v) sums[v] = chain[v];
    for (int half = vectors / 2; half; half /= 2)
      for (int v = 0; v < half; ++v) sums[v] = sums[v] + sums[v + half];
    return sums[0];
  }
  // All of it, in the order in which `folded` goes on.
  T total() const {
    T sums[lanes<T>];
    store(sums, folded());
    for (int half = lanes<T> / 2; half; half /= 2)
      for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
    return sums[0];
  }
};

}  // namespace
}  // namespace pylstm
