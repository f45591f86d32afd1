// The one micro-kernel: a register tile of ROWS x COLUMNS vectors, accumulators += rows . panel.
//
// Every accumulator is one chain of fused multiply-adds in ascending k, whatever tile it stands in. That is promise 1
// of the library (same bits in any batch, for any thread count, on AVX2 as on AVX-512), so nothing here may split a
// chain.
//
// The forward step, the chunked input product, the backward step, the gradient to x and the weight gradients all come
// through here; they differ in what a row is and in the panel alone.
#pragma once

#include "kernels.h"
#include "simd/vec.h"

namespace pylstm {
namespace {

constexpr int bit_count(unsigned mask) { return mask ? int(mask & 1) + bit_count(mask >> 1) : 0; }

// The columns of the tile that each of the two operands adds to (bit c: column c). They differ where a cell keeps the
// halves of a gate apart: the candidate of a GRU with reset after the product.
template <int COLUMNS, unsigned FIRST, unsigned SECOND>
struct ColumnMap {
  static constexpr int columns = COLUMNS;
  static constexpr unsigned first = FIRST, second = SECOND;
};
// All columns for both operands.
template <int COLUMNS>
using Dense = ColumnMap<COLUMNS, (1u << COLUMNS) - 1, (1u << COLUMNS) - 1>;

// panel: [k][columns of the operand][lanes].
template <class T, int ROWS, int COLUMNS, unsigned MASK>
[[gnu::always_inline]] inline void multiply(vec<T> (&acc)[ROWS][COLUMNS], const Operand<T>& operand, ptrdiff_t row,
                                            const T* panel) {
  constexpr int width = bit_count(MASK);
  if (operand.k == 0) return;
  const T* a[ROWS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) a[r] = operand.rows[row + r] + operand.offset;
  const ptrdiff_t step = operand.step, end = operand.k * step;
  for (ptrdiff_t k = 0; k < end; k += step) {
    vec<T> b[width];
#pragma GCC unroll 4
    for (int c = 0; c < width; ++c) b[c] = load(panel + c * lanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const vec<T> ar = splat<vec<T>>(a[r][k]);
#pragma GCC unroll 4
      for (int c = 0, w = 0; c < COLUMNS; ++c)
        if (MASK >> c & 1) acc[r][c] = fma(ar, b[w++], acc[r][c]);
    }
    panel += width * lanes<T>;
  }
}

// init and out: [row][COLUMNS][lanes], rows init_row and out_row elements apart (init_row = 0: a bias for all rows).
template <class T, class Map, int ROWS>
void tile(const Operand<T>& first, const T* first_panel, const Operand<T>& second, const T* second_panel, ptrdiff_t row,
          const T* init, ptrdiff_t init_row, T* out, ptrdiff_t out_row) {
  constexpr int COLUMNS = Map::columns;
  vec<T> acc[ROWS][COLUMNS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; ++c) acc[r][c] = load(init + r * init_row + c * lanes<T>);
  multiply<T, ROWS, COLUMNS, Map::first>(acc, first, row, first_panel);
  const auto put = [&] {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) store(out + r * out_row + c * lanes<T>, acc[r][c]);
  };
  if (second.k > 0) {
    if (first.k > 0) {  // else the first chain still lies in init
      put();
      init = out, init_row = out_row;
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) acc[r][c] = vec<T>{};
    multiply<T, ROWS, COLUMNS, Map::second>(acc, second, row, second_panel);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) acc[r][c] = acc[r][c] + load(init + r * init_row + c * lanes<T>);
  }
  put();
}

template <class T>
using Tile = void (*)(const Operand<T>&, const T*, const Operand<T>&, const T*, ptrdiff_t, const T*, ptrdiff_t, T*,
                      ptrdiff_t);

// The tiles of a map for 1 to TILE_ROWS rows, at [rows - 1].
template <class T, class Map>
inline const Tile<T>* tiles_of() {
  static_assert(TILE_ROWS == 3 || TILE_ROWS == 6);
  if constexpr (TILE_ROWS == 6) {
    static constexpr Tile<T> table[] = {tile<T, Map, 1>, tile<T, Map, 2>, tile<T, Map, 3>,
                                        tile<T, Map, 4>, tile<T, Map, 5>, tile<T, Map, 6>};
    return table;
  } else {
    static constexpr Tile<T> table[] = {tile<T, Map, 1>, tile<T, Map, 2>, tile<T, Map, 3>};
    return table;
  }
}

// The same for `vectors` neighbouring unit vectors of a stage with few columns side by side.
template <class T, class Map>
inline const Tile<T>* tiles_of(int vectors) {
  constexpr int c = Map::columns;
  if constexpr (c == 1) {
    if (vectors == 2) return tiles_of<T, Dense<2>>();
    if (vectors == 3) return tiles_of<T, Dense<3>>();
    if (vectors == 4) return tiles_of<T, Dense<4>>();
  } else if constexpr (c == 2) {
    if (vectors == 2) return tiles_of<T, Dense<4>>();
  }
  return tiles_of<T, Map>();
}

// Cuts n rows into the fewest tiles, as equal as they can be: 32 rows are 6 6 5 5 5 5, not five sixes and a slow two.
class RowTiles {
 public:
  explicit RowTiles(ptrdiff_t rows) : tiles_((rows + TILE_ROWS - 1) / TILE_ROWS) {
    if (tiles_ > 0) small_ = rows / tiles_, large_ = rows % tiles_;
  }
  ptrdiff_t count() const { return tiles_; }
  int size(ptrdiff_t i) const { return int(small_ + (i < large_)); }

 private:
  ptrdiff_t tiles_, small_ = 0, large_ = 0;
};

}  // namespace
}  // namespace pylstm
