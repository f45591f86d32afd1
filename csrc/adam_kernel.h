// The arithmetic of Adam. No fused multiply-adds, so that every ISA and the NumPy twin (pylstm/reference/adam.py) give
// the same bits.
#pragma once

#include "kernels.h"
#include "simd/vec.h"

namespace pylstm {
namespace {

template <class T>
struct AdamVector {
  vec<T> parameter, mean, square;

  void move(vec<T> g, const AdamStep<T>& s) {
    using V = vec<T>;
    const V limit = splat<V>(s.limit);
    g = g > limit ? limit : g;  // NaN stays NaN
    g = g < -limit ? -limit : g;
    g = g * s.scale;
    parameter = parameter * s.shrink;
    g = g + parameter * s.decay;
    mean = mean * s.beta1 + g * s.rest1;
    const V root = g * s.root2;
    square = square * s.beta2 + root * root;
    parameter = parameter - mean / (sqrt(square) + s.eps) * s.rate;
  }
};

template <class T>
void adam(const AdamArgs<T>& a, const AdamStep<T>& step) {
  ptrdiff_t i = 0;
  for (; i + lanes<T> <= a.n; i += lanes<T>) {
    AdamVector<T> v{load(a.value + i), load(a.mean + i), load(a.square + i)};
    v.move(a.gradient ? load(a.gradient + i) : vec<T>{}, step);
    store(a.parameter + i, v.parameter), store(a.mean + i, v.mean), store(a.square + i, v.square);
  }
  if (const ptrdiff_t n = a.n - i; n > 0) {
    AdamVector<T> v{load_partial(a.value + i, n), load_partial(a.mean + i, n), load_partial(a.square + i, n)};
    v.move(a.gradient ? load_partial(a.gradient + i, n) : vec<T>{}, step);
    store_partial(a.parameter + i, v.parameter, n);
    store_partial(a.mean + i, v.mean, n), store_partial(a.square + i, v.square, n);
  }
}

}  // namespace
}  // namespace pylstm
