// The arithmetic of the CTC loss; see ctc_kernels.h.
#pragma once

#include "ctc_kernels.h"
#include "softmax_kernel.h"

namespace pylstm {
namespace {

// log x for x from 1: 2^k m with m in [sqrt(1/2), sqrt(2)), and with f = m - 1, s = f / (2 + f)
//
//     log(1 + f) = 2 atanh(s) = f - (f^2 / 2 - s (f^2 / 2 + R(s^2))),
//
// which leaves f exact (the way of fdlibm's e_log.c; the coefficients are a fit of this file's: 2^-57 of log m).
// Largest error found: 0.9 ulp. What is below 1, but not 0 or denormal, has the same; NaN and infinity give anything.
inline f64v log_from_1(f64v x) {
  using C = MathConst<double>;
  constexpr double r[] = {0x1.5555555555558p-1, 0x1.99999999952e2p-2, 0x1.2492492df148dp-2, 0x1.c71c62e5800a1p-3,
                          0x1.7462b4ab2ef6bp-3, 0x1.39fe606542ddep-3, 0x1.2b584aae78a57p-3};
  constexpr int64_t root_half = 0x3FE6A09E667F3BCD;
  const auto b = (i64v)x - root_half;
  const auto k = b >> 52;
  const f64v n = (f64v)(k + (int64_t(0x4338) << 48)) - 0x1.8p52;
  const f64v f = (f64v)((b & 0xFFFFFFFFFFFFF) + root_half) - 1.0;
  const f64v s = f / (f + 2.0), z = s * s, half = f * f * 0.5;
  const f64v tail = fma(s, fma(z, polynomial(z, r), half), n * C::ln2_lo);
  return fma(n, splat<f64v>(C::ln2_hi), f - (half - tail));
}

// The logarithm of the sum of three chances, the largest of which needs no exponential. NaN is left in one of each
// pair.
inline f64v log_sum(f64v a, f64v b, f64v c) {
  const f64v none = splat<f64v>(-__builtin_huge_val());
  const f64v more = b > a ? b : a, less = b > a ? a : b;
  const f64v most = c > more ? c : more, other = c > more ? more : c;
  const f64v base = most == none ? f64v{} : most;
  const f64v sum = 1.0 + (exp(less - base) + exp(other - base));
  return sum == sum ? most + log_from_1(sum) : sum;
}

inline void ctc_forward(const CtcStepArgs& a) {
  for (ptrdiff_t s = 0; s < a.states; s += lanes<double>) {
    const f64v skipped = load(a.from + s - 2) + load(a.skip + s);
    store(a.to + s, log_sum(load(a.from + s), load(a.from + s - 1), skipped) + load(a.label + s));
  }
}

inline void ctc_backward(const CtcStepArgs& a) {
  const f64v total = splat<f64v>(a.total);
  for (ptrdiff_t s = 0; s < a.states; s += lanes<double>) {
    const f64v skipped = load(a.beta + s + 2) + load(a.skip + s + 2);
    const f64v beta = log_sum(load(a.beta + s), load(a.beta + s + 1), skipped);
    store(a.to + s, exp(load(a.from + s) + beta - total));
    store(a.beta + s, beta + load(a.label + s));
  }
}

// Sums run in as many chains as a cache line has numbers, in double: the same bits on every ISA.
template <class T>
double ctc_row(const CtcRowArgs<T>& a) {
  constexpr ptrdiff_t width = 64 / ptrdiff_t(sizeof(T)), vectors = width / lanes<T>;
  const T none = -T(__builtin_huge_val());
  vec<T> most = splat<vec<T>>(none), more = most;  // NaN is passed over here, not by the sum
  ptrdiff_t c = 0;
  for (; c + 2 * lanes<T> <= a.classes; c += 2 * lanes<T>) {
    const vec<T> v = load(a.logits + c), w = load(a.logits + c + lanes<T>);
    most = v > most ? v : most, more = w > more ? w : more;
  }
  most = more > most ? more : most;
  T each[lanes<T>];
  store(each, most);
  T largest = none;
  for (const T one : each) largest = one > largest ? one : largest;
  for (; c < a.classes; ++c) largest = a.logits[c] > largest ? a.logits[c] : largest;

  const vec<T> base = splat<vec<T>>(largest == none ? T(0) : largest);
  Wide<T> sum[vectors];
  for (c = 0; c + width <= a.classes; c += width)
    for (ptrdiff_t v = 0; v < vectors; ++v) {
      const vec<T> e = exp(load(a.logits + c + v * lanes<T>) - base);
      if (a.d_logits) store(a.d_logits + c + v * lanes<T>, e);
      sum[v].add(e);
    }
  for (ptrdiff_t v = 0; v < vectors && c + v * lanes<T> < a.classes; ++v) {
    const ptrdiff_t at = c + v * lanes<T>, left = a.classes - at, some = left < lanes<T> ? left : lanes<T>;
    T tail[lanes<T>] = {};
    store_partial(tail, exp(load_partial(a.logits + at, some) - base), some);
    if (a.d_logits) store_partial(a.d_logits + at, load(tail), some);
    sum[v].add(load(tail));
  }
  double sums[width];
  for (ptrdiff_t v = 0; v < vectors; ++v) sum[v].write(sums + v * lanes<T>);
  for (ptrdiff_t half = width / 2; half; half /= 2)
    for (ptrdiff_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  const double all = sums[0];
  if (a.d_logits) {
    const vec<T> factor = splat<vec<T>>(T(a.scale / all));
    for (c = 0; c + lanes<T> <= a.classes; c += lanes<T>) store(a.d_logits + c, load(a.d_logits + c) * factor);
    if (const ptrdiff_t some = a.classes - c; some > 0)
      store_partial(a.d_logits + c, load_partial(a.d_logits + c, some) * factor, some);
  }
  return all == all ? double(largest) + log_from_1(splat<f64v>(all))[0] : all;
}

template <class T>
constexpr CtcKernels<T> ctc_kernels() {
  return {ctc_row<T>, ctc_forward, ctc_backward};
}

}  // namespace
}  // namespace pylstm
