// The arithmetic of a softmax over classes whose logits lie below each other; see softmax_kernels.h.
#pragma once

#include "few_outputs.h"
#include "softmax_kernels.h"
#include "wide.h"

namespace pylstm {
namespace {

template <class T>
void softmax_most(const SoftmaxArgs<T>& a) {
  for (ptrdiff_t c = 0; c < a.columns; c += lanes<T>) {
    vec<T> most = splat<vec<T>>(-__builtin_huge_valf());
    Wide<T> sum;
    T* z = a.logits + c;
    for (ptrdiff_t i = 0; i < a.classes; ++i, z += a.row) {
      vec<T> v = load(z);
      if (a.bias) {
        v = v + splat<vec<T>>(a.bias[i]);
        store(z, v);
      }
      most = v > most ? v : most;
      if (a.share) sum.add(v, double(a.share[i]));
    }
    store(a.most + c, most);
    if (a.share) sum.write(a.sum + c);
  }
}

template <class T>
void softmax_first_most(const SoftmaxArgs<T>& a) {
  for (ptrdiff_t c = 0; c < a.columns; c += lanes<T>) {
    vec<T> most = splat<vec<T>>(-__builtin_huge_valf()), at = {};
    const T* z = a.logits + c;
    for (ptrdiff_t i = 0; i < a.classes; ++i, z += a.row) {
      const vec<T> v = load(z);
      const auto more = ~(v <= most) & (most == most);
      most = more ? v : most;
      at = more ? splat<vec<T>>(T(i)) : at;
    }
    store(a.most + c, most), store(a.at + c, at);
  }
}

template <class T>
void softmax_exp(const SoftmaxArgs<T>& a) {
  const vec<T> none = splat<vec<T>>(-__builtin_huge_valf());
  for (ptrdiff_t c = 0; c < a.columns; c += lanes<T>) {
    const vec<T> most = load(a.most + c), base = most == none ? vec<T>{} : most;  // logits of -inf are of no chance
    Wide<T> sum;
    T* z = a.logits + c;
    for (ptrdiff_t i = 0; i < a.classes; ++i, z += a.row) {
      const vec<T> e = exp(load(z) - base);
      store(z, e);
      sum.add(e);
    }
    sum.write(a.sum + c);
  }
}

template <class T>
void softmax_scale(const SoftmaxArgs<T>& a) {
  T* z = a.logits;
  for (ptrdiff_t i = 0; i < a.classes; ++i, z += a.row) {
    const vec<T> share = splat<vec<T>>(a.share ? a.share[i] : T(0));
    for (ptrdiff_t c = 0; c < a.columns; c += lanes<T>) store(z + c, load(z + c) * load(a.factor + c) - share);
  }
}

template <class T>
void softmax_add_up(const SoftmaxArgs<T>& a, T* to, bool add) {
  constexpr ptrdiff_t width = LineSum<T>::width;
  alignas(64) T ones[width];
  for (T& one : ones) one = 1;
  const T* z = a.logits;
  for (ptrdiff_t i = 0; i < a.classes; ++i, z += a.row) {
    LineSum<T> sum;
    ptrdiff_t c = 0;
    for (; c + width <= a.columns; c += width) sum.add(z + c, ones);
    if (c < a.columns) sum.add_partial(z + c, ones, a.columns - c);
    to[i] = (add ? to[i] : T(0)) + sum.total();
  }
}

template <class T>
constexpr SoftmaxKernels<T> softmax_kernels() {
  return {softmax_most<T>, softmax_first_most<T>, softmax_exp<T>, softmax_scale<T>, softmax_add_up<T>};
}

}  // namespace
}  // namespace pylstm
