// The one micro-kernel: a register tile of ROWS x COLUMNS vectors, accumulators += rows . panel.
//
// Every accumulator is one chain of fused multiply-adds in ascending k, whatever tile it stands in. That is promise 1
// of the library (same bits in any batch, for any thread count, on AVX2 as on AVX-512), so nothing here may split a
// chain.
//
// The forward step, the chunked input product, the backward step, the gradient to x and the weight gradients all come
// through here; they differ in what a row is and in the panel alone.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "product.h"
#include "simd/vec.h"
#include "transpose.h"

namespace pylstm {
namespace {

constexpr int bit_count(unsigned mask) { return mask ? int(mask & 1) + bit_count(mask >> 1) : 0; }

// A storage type has the members of this struct: the number that rows, accumulators and cells have, what a weight is
// stored as, its way there and back, and the product with a panel, [k][columns of the operand][lanes]. A type derives
// from it and says again what differs. The weights of this one are stored as they are.
template <class T>
struct Plain {
  using number = T;
  using element = T;

  static element stored(T weight) { return weight; }
  static vec<T> load(const element* weights) { return pylstm::load(weights); }

  template <class Storage, int ROWS, int COLUMNS, unsigned MASK>
  [[gnu::always_inline]] static void multiply(vec<T> (&acc)[ROWS][COLUMNS], const Operand<T>& operand, ptrdiff_t row,
                                              const typename Storage::element* panel) {
    constexpr int width = bit_count(MASK);
    const T* a[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) a[r] = operand.rows[row + r] + operand.offset;
    const ptrdiff_t step = operand.step, end = operand.k * step;
    for (ptrdiff_t k = 0; k < end; k += step) {
      vec<T> b[width];
#pragma GCC unroll 4
      for (int c = 0; c < width; ++c) b[c] = Storage::load(panel + c * lanes<T>);
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
};

template <class Storage, unsigned MASK, class T, int ROWS, int COLUMNS>
[[gnu::always_inline]] inline void multiply(vec<T> (&acc)[ROWS][COLUMNS], const Operand<T>& operand, ptrdiff_t row,
                                            const std::byte* panel) {
  if (operand.k == 0) return;
  using Element = typename Storage::element;
  Storage::template multiply<Storage, ROWS, COLUMNS, MASK>(acc, operand, row, reinterpret_cast<const Element*>(panel));
}

// init and out: [row][COLUMNS][lanes], rows init_row and out_row elements apart (init_row = 0: a bias for all rows).
template <class Storage, TileShape SHAPE, int ROWS, class T = typename Storage::number>
void tile(const Operand<T>& first, const std::byte* first_panel, const Operand<T>& second,
          const std::byte* second_panel, ptrdiff_t row, const T* init, ptrdiff_t init_row, T* out, ptrdiff_t out_row) {
  constexpr int COLUMNS = SHAPE.columns;
  vec<T> acc[ROWS][COLUMNS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; ++c) acc[r][c] = load(init + r * init_row + c * lanes<T>);
  multiply<Storage, SHAPE.first>(acc, first, row, first_panel);
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
    multiply<Storage, SHAPE.second>(acc, second, row, second_panel);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) acc[r][c] = acc[r][c] + load(init + r * init_row + c * lanes<T>);
  }
  put();
}

// Rows of weights that are stored as they are go through registers: packing 64 -> 256 after an update takes 0.4 of the
// time, 256 -> 128 0.4 to 0.8. All else walks k in short runs, so that reads along k and writes along the lanes both
// stay within a few cache lines.
template <class Storage, class T = typename Storage::number>
void pack_lanes(const PackLanes<T>& p) {
  constexpr ptrdiff_t run = 16;
  const auto [from, unit_stride, k_stride] = p.source;
  const T* const weights = from + p.unit * unit_stride;
  auto* const to = reinterpret_cast<typename Storage::element*>(p.to);
  const auto zero = Storage::stored(T(0));
  if constexpr (std::is_same_v<typename Storage::element, T>)
    if (k_stride == 1) return copy_across(weights, unit_stride, p.units, p.k, to, p.step, p.width);
  for (ptrdiff_t begin = 0; begin < p.k; begin += run) {
    const ptrdiff_t end = p.k - begin < run ? p.k : begin + run;
    if (unit_stride == 1) {
      for (ptrdiff_t k = begin; k < end; ++k) {
        for (ptrdiff_t i = 0; i < p.units; ++i) to[k * p.step + i] = Storage::stored(weights[k * k_stride + i]);
        for (ptrdiff_t i = p.units; i < p.width; ++i) to[k * p.step + i] = zero;
      }
    } else {
      for (ptrdiff_t i = 0; i < p.width; ++i)
        for (ptrdiff_t k = begin; k < end; ++k)
          to[k * p.step + i] = i < p.units ? Storage::stored(weights[i * unit_stride + k * k_stride]) : zero;
    }
  }
}

// The most rows of a tile. A column alone needs more than wide tiles have room for: fewer chains than the latency of a
// multiply-add times the number of those that begin in a cycle would leave the units idle.
constexpr int tile_rows(ptrdiff_t columns) { return columns == 1 ? most_tile_rows : TILE_ROWS; }

template <class Storage, TileShape SHAPE, int... ROWS>
constexpr void fill_tiles(Tile<typename Storage::number> (&tiles)[most_tile_rows],
                          std::integer_sequence<int, ROWS...>) {
  static_assert(TILE_ROWS <= most_tile_rows);
  ((tiles[ROWS] = tile<Storage, SHAPE, ROWS + 1>), ...);
}
template <class Storage, int... SHAPE>
constexpr Product<typename Storage::number> make_product(std::integer_sequence<int, SHAPE...>) {
  Product<typename Storage::number> product{Storage::name, sizeof(typename Storage::element), pack_lanes<Storage>};
  (fill_tiles<Storage, tile_shapes[SHAPE]>(product.tiles[SHAPE],
                                           std::make_integer_sequence<int, tile_rows(tile_shapes[SHAPE].columns)>()),
   ...);
  return product;
}
template <class Storage>
constexpr Product<typename Storage::number> make_product() {
  return make_product<Storage>(std::make_integer_sequence<int, tile_shapes.count>());
}

// Cuts n rows into the fewest tiles, as equal as they can be: 32 rows are 6 6 5 5 5 5, not five sixes and a slow two.
class RowTiles {
 public:
  RowTiles(ptrdiff_t rows, int most) : tiles_((rows + most - 1) / most) {
    if (tiles_ > 0) small_ = rows / tiles_, large_ = rows % tiles_;
  }
  ptrdiff_t count() const { return tiles_; }
  int size(ptrdiff_t i) const { return int(small_ + (i < large_)); }

 private:
  ptrdiff_t tiles_, small_ = 0, large_ = 0;
};

}  // namespace
}  // namespace pylstm
