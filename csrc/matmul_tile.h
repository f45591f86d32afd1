// The register tile of matrix products outside the recurrence, and the packing of their operands.
//
// Like `tile` in products/tile.h, but its shape is for large products: three vectors of columns and eight rows need
// fewer loads a multiply-add than four and six, it stores its own results, and it reads rows by a stride rather than by
// pointers.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "matmul_kernels.h"
#include "stage.h"
#include "transpose.h"

namespace pylstm {
namespace {

// As many accumulators as registers allow beside a row of the panel and a broadcast: of 32, or of 16.
constexpr int MATMUL_ROWS = TILE_ROWS == 6 ? 8 : 6, MATMUL_VECTORS = TILE_ROWS == 6 ? 3 : 2;

// For a prefetch: the address may lie behind the end of an array.
template <class T>
inline const void* beyond(const T* p, ptrdiff_t elements) {
  return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + uintptr_t(elements) * sizeof(T));
}

template <class T>
constexpr int line = 64 / int(sizeof(T));  // elements of a cache line

// Panels stay in L2, and so many of their rows are asked for ahead: 0.97 of the time.
constexpr ptrdiff_t rows_ahead = 8;

template <class T, int ROWS, int VECTORS>
[[gnu::noinline]] void matmul_tile(const MatmulArgs<T>& m, const T* b, T* c, ptrdiff_t left, const T* init) {
  // Three rows share a pointer: more pointers than there are registers would be loaded again for every multiply-add.
  const T* a[(ROWS + 2) / 3];
  for (int r = 0; r < (ROWS + 2) / 3; ++r) a[r] = m.a + 3 * r * m.a_row;
  const ptrdiff_t ahead = rows_ahead * m.b_step;
  const bool whole = left >= VECTORS * lanes<T>;
  if (whole)
    for (int r = 0; r < ROWS; ++r)
      for (int v = 0; v < VECTORS; ++v) __builtin_prefetch(c + r * m.c_row + v * lanes<T>, 1);
  for (ptrdiff_t begin = 0; begin < m.k || begin == 0; begin += m.chain) {
    const ptrdiff_t steps = m.k - begin < m.chain ? m.k - begin : m.chain;
    const bool add = m.add || begin > 0;
    vec<T> acc[ROWS][VECTORS];
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; ++v) {
      const vec<T> first = add || !init ? vec<T>{} : load_some(init + v * lanes<T>, left - v * lanes<T>);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r) acc[r][v] = first;
    }
    for (ptrdiff_t k = 0; k < steps; ++k) {
      vec<T> row[VECTORS];
#pragma GCC unroll 3
      for (int v = 0; v < VECTORS; ++v) row[v] = load(b + v * lanes<T>);
#pragma GCC unroll 3
      for (int i = 0; i < VECTORS * lanes<T>; i += line<T>) __builtin_prefetch(beyond(b, ahead + i));
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r) {
        const vec<T> ar = splat<vec<T>>(a[r / 3][r % 3 * m.a_row]);
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; ++v) acc[r][v] = fma(ar, row[v], acc[r][v]);
      }
      b += m.b_step;
#pragma GCC unroll 3
      for (int r = 0; r < (ROWS + 2) / 3; ++r) a[r] += m.a_step;
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < VECTORS; ++v) {
        T* const to = c + r * m.c_row + v * lanes<T>;
        if (whole) {
          store(to, add ? load(to) + acc[r][v] : acc[r][v]);
        } else {
          const ptrdiff_t n = left - v * lanes<T>;
          store_some(to, add ? load_some(to, n) + acc[r][v] : acc[r][v], n);
        }
      }
  }
}

template <class T>
using MatmulTile = void (*)(const MatmulArgs<T>&, const T*, T*, ptrdiff_t, const T*);

// The tiles of 1 to MATMUL_ROWS rows and VECTORS vectors, at [rows - 1].
template <class T, int VECTORS, int... ROWS>
inline MatmulTile<T> matmul_tile_of(ptrdiff_t rows, std::integer_sequence<int, ROWS...>) {
  static constexpr MatmulTile<T> table[] = {matmul_tile<T, ROWS + 1, VECTORS>...};
  return table[rows - 1];
}

template <class T>
inline MatmulTile<T> matmul_tile_of(ptrdiff_t rows, ptrdiff_t vectors) {
  constexpr auto all = std::make_integer_sequence<int, MATMUL_ROWS>();
  if (vectors == 1) return matmul_tile_of<T, 1>(rows, all);
  if (vectors == 2) return matmul_tile_of<T, 2>(rows, all);
  return matmul_tile_of<T, MATMUL_VECTORS>(rows, all);
}

// Rows as they lie in a matrix are far apart, and the processor does not see the next ones coming: they are asked for,
// a part with each panel. 4096 x 512 x 512 takes 0.96 of the time on two threads.
template <class T>
void matmul_row_tile(const MatmulArgs<T>& m, ptrdiff_t rows) {
  const PanelCuts cuts(m.columns, MATMUL_VECTORS * lanes<T>, lanes<T>);
  const ptrdiff_t lines = m.a_next ? (m.k + line<T> - 1) / line<T> : 0;
  const T* b = m.b;
  ptrdiff_t asked = 0;
  for (ptrdiff_t i = 0; i < cuts.count; ++i, b += m.b_panel) {
    for (const ptrdiff_t end = lines * (i + 1) / cuts.count; asked < end; ++asked)
      for (ptrdiff_t r = 0; r < rows; ++r) __builtin_prefetch(beyond(m.a_next, r * m.a_row + asked * line<T>), 0, 2);
    const ptrdiff_t column = cuts.begin(i), left = cuts.end(i) - column;
    const auto tile = matmul_tile_of<T>(rows, (left + lanes<T> - 1) / lanes<T>);
    tile(m, b, m.c + column, left, m.init ? m.init + column : nullptr);
  }
}

template <class T>
void matmul_pack(const MatmulPack<T>& p) {
  if (p.unit_stride == 1) {
    const T* from = p.from;
    T* to = p.to;
    if (p.units == MATMUL_ROWS && p.width == MATMUL_ROWS) {
      // A tile of a, whose rows of the next k are asked for: half the time of packing the gradients of 10,000 outputs.
      for (ptrdiff_t k = 0; k < p.k; ++k, from += p.k_stride, to += p.to_step) {
        __builtin_prefetch(beyond(from, pack_run * p.k_stride));
        std::memcpy(to, from, MATMUL_ROWS * sizeof(T));
      }
      return;
    }
    for (ptrdiff_t k = 0; k < p.k; ++k, from += p.k_stride, to += p.to_step)
      for (ptrdiff_t unit = 0; unit < p.width; unit += lanes<T>) {
        const ptrdiff_t have = p.units - unit;
        const vec<T> v = have > 0 ? load_some(from + unit, have) : vec<T>{};
        store_some(to + unit, v, p.width - unit);
      }
    return;
  }
  copy_across(p.from, p.unit_stride, p.units, p.k, p.to, p.to_step, p.width);
}

template <class T>
constexpr MatmulKernels<T> matmul_kernels() {
  static_assert(panels_fill % (MATMUL_VECTORS * lanes<T>) == 0);
  return {MATMUL_ROWS, MATMUL_VECTORS * lanes<T>, matmul_row_tile<T>, matmul_pack<T>};
}

}  // namespace
}  // namespace pylstm
