// Runs a stage of whole rows: no product, and row by row the arithmetic that couples its units.
//
// A sum over a row is taken in as many chains as a cache line has elements, unit u in chain u modulo their number, and
// these are folded in a fixed order: the same bits for any number of workers and on every ISA with fused multiply-adds.
#pragma once

#include "cells/stages.h"
#include "line_sum.h"
#include "stage.h"

namespace pylstm {
namespace {

// The first n lanes of v, and `rest` in the others.
template <class T>
inline vec<T> first_lanes(vec<T> v, ptrdiff_t n, T rest) {
  T lane[lanes<T>];
  store(lane, splat<vec<T>>(rest));
  store_partial(lane, v, n);
  return load(lane);
}

// What `apply_row` of a stage reads and writes. What only the backward pass needs is not written without SAVE.
template <class T, class Kernel, bool SAVE>
class RowIo {
 public:
  RowIo(const StageArgs<T>& a, ptrdiff_t row) : units_(a.units) {
    for (int i = 0; i < Kernel::inputs; ++i) in_[i] = a.in[i].rows[row] + a.in[i].offset;
    for (int i = 0; i < stores; ++i) out_[i] = a.out[i].rows[row] + a.out[i].offset;
  }

  template <class F>
  vec<T> sum(const F& of_unit) {
    LineSum<T> sum;
    over_line(of_unit, T(0), [&](int v, vec<T> value) { sum.chain[v] = sum.chain[v] + value; });
    return splat<vec<T>>(sum.total());
  }
  template <class F>
  vec<T> mean(const F& of_unit) {
    return sum(of_unit) / splat<vec<T>>(T(units_));
  }
  // NaN if there is one.
  template <class F>
  vec<T> max(const F& of_unit) {
    constexpr T least = -T(__builtin_huge_valf());
    vec<T> chain[LineSum<T>::vectors];
    for (vec<T>& one : chain) one = splat<vec<T>>(least);
    over_line(of_unit, least, [&](int v, vec<T> value) { chain[v] = larger(value, chain[v]); });
    for (int half = LineSum<T>::vectors / 2; half; half /= 2)
      for (int v = 0; v < half; ++v) chain[v] = larger(chain[v + half], chain[v]);
    T all[lanes<T>];
    store(all, chain[0]);
    for (int half = lanes<T> / 2; half; half /= 2)
      for (int i = 0; i < half; ++i)
        all[i] = all[i + half] > all[i] || all[i + half] != all[i + half] ? all[i + half] : all[i];
    return splat<vec<T>>(all[0]);
  }
  template <class F>
  void each(const F& of_unit) {
    ptrdiff_t unit = 0;
    for (; unit + lanes<T> <= units_; unit += lanes<T>) {
      Units<true> u{*this, unit, lanes<T>};
      of_unit(u);
    }
    if (unit < units_) {
      Units<false> u{*this, unit, units_ - unit};
      of_unit(u);
    }
  }

  template <Where WHERE, Name NAME>
  vec<T> operator[](cells::Key<WHERE, NAME>) const {
    return splat<vec<T>>(*in_[in_place<WHERE, NAME>()]);
  }
  template <Where WHERE, Name NAME>
  void put(cells::Key<WHERE, NAME>, vec<T> value) {
    if constexpr (constexpr int at = out_place<WHERE, NAME>(); at < stores) *out_[at] = value[0];
  }

 private:
  static constexpr int stores = Kernel::outputs + (SAVE ? Kernel::saved : 0);

  template <Where WHERE, Name NAME>
  static constexpr int in_place() {
    constexpr int at = Kernel::spec.in.find(cells::ref_of(Kernel::cell, {WHERE, NAME}));
    static_assert(at >= 0);
    return at;
  }
  template <Where WHERE, Name NAME>
  static constexpr int out_place() {
    constexpr int at = Kernel::spec.out.find(cells::ref_of(Kernel::cell, {WHERE, NAME}));
    static_assert(at >= 0);
    return at;
  }

  // A vector of units; without FULL, the last ones of the row.
  template <bool FULL>
  struct Units {
    const RowIo& row;
    ptrdiff_t unit, count;

    template <Where WHERE, Name NAME>
    vec<T> operator[](cells::Key<WHERE, NAME>) const {
      return load_units<FULL>(row.in_[in_place<WHERE, NAME>()] + unit, count);
    }
    template <Where WHERE, Name NAME>
    void put(cells::Key<WHERE, NAME>, vec<T> value) {
      if constexpr (constexpr int at = out_place<WHERE, NAME>(); at < stores)
        store_units<FULL>(row.out_[at] + unit, value, count);
    }
  };

  // take(chain, values) for every vector of units; `rest` in the lanes behind the end.
  template <class F, class Take>
  void over_line(const F& of_unit, T rest, const Take& take) {
    constexpr int width = LineSum<T>::width, vectors = LineSum<T>::vectors;
    ptrdiff_t unit = 0;
    for (; unit + width <= units_; unit += width)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        Units<true> u{*this, unit + v * lanes<T>, lanes<T>};
        take(v, of_unit(u));
      }
    for (int v = 0; unit < units_; unit += lanes<T>, ++v) {
      const ptrdiff_t left = units_ - unit, count = left < lanes<T> ? left : lanes<T>;
      Units<false> u{*this, unit, count};
      take(v, first_lanes<T>(of_unit(u), count, rest));
    }
  }

  static vec<T> larger(vec<T> a, vec<T> b) { return ((a > b) | (a != a)) ? a : b; }

  const T* in_[Kernel::inputs + 1];
  T* out_[stores + 1];
  ptrdiff_t units_;
};

template <class T, class Kernel, bool SAVE>
void run_rows(const StageArgs<T>& a) {
  for (ptrdiff_t row = a.block_begin; row < a.block_end; ++row) {
    RowIo<T, Kernel, SAVE> io(a, row);
    Kernel::Arithmetic::apply_row(io);
  }
}

}  // namespace
}  // namespace pylstm
