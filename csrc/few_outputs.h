// Linear layers with a few outputs, where a tile would fill a sixteenth of its vectors: every output of a row by
// itself.
#pragma once

#include "line_sum.h"
#include "stage.h"
#include "transpose.h"

namespace pylstm {
namespace {

// As many rows at a time as a vector has lanes: what `folded` left of them is transposed and goes on being folded for
// all of them at once. The sums of one row alone cost more than its multiply-adds.
template <class T>
void few_outputs(const FewOutputsArgs<T>& a) {
  constexpr int width = LineSum<T>::width;
  constexpr ptrdiff_t together = 4;  // rows, so that their chains overlap
  static_assert(lanes<T> % together == 0 || lanes<T> < together);
  for (ptrdiff_t row = 0; row < a.rows; row += lanes<T>) {
    const ptrdiff_t rows = a.rows - row < lanes<T> ? a.rows - row : lanes<T>;
    for (ptrdiff_t o = 0; o < a.outputs; ++o) {
      const T* w = a.weight + o * a.weight_row;
      vec<T> square[lanes<T>] = {};
      for (ptrdiff_t first = 0; first < rows; first += together) {
        LineSum<T> sum[together];
        const T* x[together];
        for (ptrdiff_t r = 0; r < together; ++r) x[r] = a.x + (row + (first + r < rows ? first + r : first)) * a.x_row;
        ptrdiff_t k = 0;
        for (; k + width <= a.k; k += width)
          for (ptrdiff_t r = 0; r < together; ++r) sum[r].add(x[r] + k, w + k);
        if (k < a.k)
          for (ptrdiff_t r = 0; r < together; ++r) sum[r].add_partial(x[r] + k, w + k, a.k - k);
        for (ptrdiff_t r = 0; r < together && first + r < rows; ++r) square[first + r] = sum[r].folded();
      }
      transpose<T>(square);
      for (int half = lanes<T> / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) square[i] = square[i] + square[i + half];
      T totals[lanes<T>];
      store(totals, square[0] + splat<vec<T>>(a.bias ? a.bias[o] : T(0)));
      for (ptrdiff_t r = 0; r < rows; ++r) a.y[(row + r) * a.y_row + o] = totals[r];
    }
  }
}

// In the chains of a weight gradient's product, but without packing: each element of x is used too seldom.
template <class T>
void few_outputs_gradient(const FewGradientArgs<T>& a) {
  constexpr ptrdiff_t vectors = 8;
  for (ptrdiff_t j = 0; j < a.outputs; ++j)
    for (ptrdiff_t i = 0; i < a.width; i += vectors * lanes<T>) {
      const ptrdiff_t left = a.width - i;
      T* const to = a.gradient + j * a.gradient_row + i;
      for (ptrdiff_t row = 0; row < a.rows; row += OUTER_ROWS) {
        const ptrdiff_t end = a.rows - row < OUTER_ROWS ? a.rows : row + OUTER_ROWS;
        vec<T> chain[vectors] = {};
        for (ptrdiff_t r = row; r < end; ++r) {
          const vec<T> d = splat<vec<T>>(a.d[r * a.d_row + j]);
          const T* x = a.x + r * a.x_row + i;
          if (left >= vectors * lanes<T>) {
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v) chain[v] = fma(d, load(x + v * lanes<T>), chain[v]);
          } else {
            for (int v = 0; v < vectors && v * lanes<T> < left; ++v)
              chain[v] = fma(d, load_some(x + v * lanes<T>, left - v * lanes<T>), chain[v]);
          }
        }
        for (int v = 0; v < vectors && v * lanes<T> < left; ++v) {
          const ptrdiff_t some = left - v * lanes<T>;
          store_some(to + v * lanes<T>, load_some(to + v * lanes<T>, some) + chain[v], some);
        }
      }
    }
}

}  // namespace
}  // namespace pylstm
