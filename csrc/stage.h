// Runs one stage of a step over a rectangle of rows x units: register tiles, then the cell on what they left in L1.
//
// The accumulators of a group of tiles pass through a scratch of at most 6 KiB. Keeping them in registers through the
// cell would need a copy of every cell for every tile shape; the detour is 48 moves beside the 12 k fused multiply-adds
// of a 6 x 4 tile, and a loop over rows of independent cells keeps the divider busy.
#pragma once

#include "cells/stages.h"
#include "kernels.h"
#include "products/list.h"

namespace pylstm {
namespace {

constexpr ptrdiff_t GROUP_ROWS = 4 * TILE_ROWS;
static_assert(GROUP_ROWS >= most_tile_rows);

template <TileShape SHAPE>
constexpr int block_vectors = block_columns / SHAPE.columns;

// How a block of a stage lies in panels and accumulators.
template <class T>
struct BlockShape {
  int vectors;       // unit vectors; fewer in the last block
  ptrdiff_t column;  // lanes between columns: less than a vector in a narrow last block
  ptrdiff_t row;     // elements of the accumulators of a row
  int tiles;         // their shape, among tile_shapes
};
template <class T, TileShape SHAPE>
inline BlockShape<T> shape_of(ptrdiff_t units, ptrdiff_t unit) {
  static constexpr int narrow[] = {0, tile_shapes.find(dense(1)), tile_shapes.find(dense(2))};
  static constexpr int repeated[] = {tile_shapes.find(SHAPE), tile_shapes.find(SHAPE.repeated(2)),
                                     tile_shapes.find(SHAPE.repeated(3)), tile_shapes.find(SHAPE.repeated(4))};
  if constexpr (shares_vectors(SHAPE.columns, bit_count(SHAPE.first), bit_count(SHAPE.second))) {
    const ptrdiff_t column = gate_lanes(units - unit, lanes<T>);
    if (4 * column == lanes<T>) return {1, column, lanes<T>, narrow[1]};
    if (2 * column == lanes<T>) return {1, column, 2 * lanes<T>, narrow[2]};
  }
  const ptrdiff_t left = (units - unit + lanes<T> - 1) / lanes<T>;
  const int vectors = int(left < block_vectors<SHAPE> ? left : block_vectors<SHAPE>);
  return {vectors, lanes<T>, ptrdiff_t(vectors) * SHAPE.columns * lanes<T>, repeated[vectors - 1]};
}

template <bool FULL, class T>
inline vec<T> load_units(const T* p, ptrdiff_t n) {
  if constexpr (FULL)
    return load(p);
  else
    return load_partial(p, n);
}
template <bool FULL, class T>
inline void store_units(T* p, vec<T> v, ptrdiff_t n) {
  if constexpr (FULL)
    store(p, v);
  else
    store_partial(p, v, n);
}

// The cell of one unit vector for rows [row, row + rows).
template <class T, class Stage, bool SAVE, bool FULL>
[[gnu::noinline]] void epilogue(const StageArgs<T>& a, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t unit, const T* scratch,
                                ptrdiff_t scratch_row, ptrdiff_t column) {
  constexpr int C = Stage::shape.columns, inputs = Stage::inputs, outputs = Stage::outputs + Stage::saved;
  constexpr int stores = SAVE ? outputs : Stage::outputs;
  const ptrdiff_t n = a.units - unit;
  for (ptrdiff_t r = row; r < row + rows; ++r, scratch += scratch_row) {
    vec<T> acc[C], in[inputs + 1], out[outputs];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[c] = load_units<FULL>(scratch + c * column, n);
#pragma GCC unroll 24
    for (int i = 0; i < inputs; ++i) in[i] = load_units<FULL>(a.in[i].rows[r] + a.in[i].offset + unit, n);
    Stage::apply(acc, in, out);
#pragma GCC unroll 24
    for (int i = 0; i < stores; ++i) store_units<FULL>(a.out[i].rows[r] + a.out[i].offset + unit, out[i], n);
  }
}

// A stage that reads constants, as a record of numbers and one function. Its arithmetic is long (functions that are
// chosen by constants), and a copy of the loop for each such stage, as above, doubled the time of a build.
template <class T>
struct Apart {
  int columns, inputs, stores;
  uint32_t constants;  // which inputs are: the same for all rows
  void (*apply)(const vec<T>* acc, const vec<T>* in, vec<T>* out);
};
template <class T, class Stage, bool SAVE>
constexpr Apart<T> apart = {Stage::shape.columns, Stage::inputs, Stage::outputs + (SAVE ? Stage::saved : 0),
                            Stage::constants, Stage::template apply<vec<T>>};

template <class T, bool FULL>
[[gnu::noinline]] void epilogue_apart(const Apart<T>& stage, const StageArgs<T>& a, ptrdiff_t row, ptrdiff_t rows,
                                      ptrdiff_t unit, const T* scratch, ptrdiff_t scratch_row, ptrdiff_t column) {
  vec<T> acc[block_columns] = {}, in[max_refs] = {}, out[max_refs];
  const ptrdiff_t n = a.units - unit;
  const auto load_inputs = [&](ptrdiff_t r, bool constants) {
#pragma GCC unroll 1
    for (int i = 0; i < stage.inputs; ++i)
      if (bool(stage.constants >> i & 1) == constants)
        in[i] = load_units<FULL>(a.in[i].rows[r] + a.in[i].offset + unit, n);
  };
  load_inputs(row, true);
  for (ptrdiff_t r = row; r < row + rows; ++r, scratch += scratch_row) {
#pragma GCC unroll 1
    for (int c = 0; c < stage.columns; ++c) acc[c] = load_units<FULL>(scratch + c * column, n);
    load_inputs(r, false);
    stage.apply(acc, in, out);
#pragma GCC unroll 1
    for (int i = 0; i < stage.stores; ++i) store_units<FULL>(a.out[i].rows[r] + a.out[i].offset + unit, out[i], n);
  }
}

template <class T, class Stage, bool SAVE>
void run_stage(const StageArgs<T>& a) {
  constexpr TileShape tile_shape = Stage::shape;
  alignas(64) T scratch[GROUP_ROWS * block_columns * lanes<T>];
  for (ptrdiff_t i = a.block_begin; i < a.block_end; ++i) {
    const ptrdiff_t block = a.descending ? a.block_begin + a.block_end - 1 - i : i;
    const ptrdiff_t unit = block * block_vectors<tile_shape> * lanes<T>;
    const BlockShape<T> shape = shape_of<T, tile_shape>(a.units, unit);
    const Tile<T>* const tiles = a.product->tiles[shape.tiles];
    const std::byte *first = a.first_panels.of_block(block), *second = a.second_panels.of_block(block);
    const T* init = a.init + block * a.init_block;
    const int most = tile_rows(shape.row / lanes<T>);
    const RowTiles cut(a.rows, most);
    ptrdiff_t row = 0, done = 0;  // rows multiplied, rows that have been through the cell
    for (ptrdiff_t t = 0; t < cut.count(); ++t) {
      T* const out = scratch + (row - done) * shape.row;
      if (a.init_places) {  // rows from anywhere: brought to where the tile adds to them
        for (int r = 0; r < cut.size(t); ++r)
          for (ptrdiff_t i = 0; i < shape.row; i += lanes<T>)
            store(out + r * shape.row + i, load(init + a.init_places[row + r] * a.init_row + i));
        tiles[cut.size(t) - 1](a.first, first, a.second, second, row, out, shape.row, out, shape.row);
      } else {
        tiles[cut.size(t) - 1](a.first, first, a.second, second, row, init + row * a.init_row, a.init_row, out,
                               shape.row);
      }
      row += cut.size(t);
      if (row - done + most <= GROUP_ROWS && t + 1 < cut.count()) continue;
      for (int v = 0; v < shape.vectors; ++v) {
        const ptrdiff_t at = unit + v * lanes<T>;
        const T* acc = scratch + v * tile_shape.columns * lanes<T>;
        const bool full = a.units - at >= lanes<T>;
        if constexpr (Stage::constants != 0) {
          if (full)
            epilogue_apart<T, true>(apart<T, Stage, SAVE>, a, done, row - done, at, acc, shape.row, lanes<T>);
          else
            epilogue_apart<T, false>(apart<T, Stage, SAVE>, a, done, row - done, at, acc, shape.row, shape.column);
        } else if (full) {
          epilogue<T, Stage, SAVE, true>(a, done, row - done, at, acc, shape.row, lanes<T>);
        } else {
          epilogue<T, Stage, SAVE, false>(a, done, row - done, at, acc, shape.row, shape.column);
        }
      }
      done = row;
    }
  }
}

// The accumulators alone: the input product of a chunk of time steps.
template <class T, class Stage>
void run_sums(const StageArgs<T>& a) {
  constexpr TileShape shape = Stage::shape;
  for (ptrdiff_t block = a.block_begin; block < a.block_end; ++block) {
    const BlockShape<T> at = shape_of<T, shape>(a.units, block * block_vectors<shape> * lanes<T>);
    const Tile<T>* const tiles = a.product->tiles[at.tiles];
    const std::byte* first = a.first_panels.of_block(block);
    const T* init = a.init + block * a.init_block;
    T* out = a.sums + block * a.sums_block;
    const RowTiles cut(a.rows, tile_rows(at.row / lanes<T>));
    for (ptrdiff_t i = 0, row = 0; i < cut.count(); row += cut.size(i++))
      tiles[cut.size(i) - 1](a.first, first, a.second, nullptr, row, init + row * a.init_row, a.init_row,
                             out + row * a.sums_row, a.sums_row);
  }
}

// Rows that a weight gradient adds up in one chain before it goes to the total: a short chain loses less to rounding
// than one over all rows of a batch. 64 rows were 2 % slower and no better; 256 are no faster.
constexpr ptrdiff_t OUTER_ROWS = 128;

// The dense tiles of the storage type that keeps numbers as they are.
template <class T>
inline const Tile<T>* exact_tiles(int vectors) {
  static constexpr Product<T> exact = products_of<T>(Storages())[0];
  static constexpr int shapes[] = {tile_shapes.find(dense(1)), tile_shapes.find(dense(2)), tile_shapes.find(dense(3)),
                                   tile_shapes.find(dense(4))};
  return exact.tiles[shapes[vectors - 1]];
}

// A tile of the gradient += d^T . panel, chain by chain. It is the second half of a tile: zero, product, plus init.
//
// The rows of d are further apart than hardware fetches ahead, so those of the next tile are fetched while this one is
// computed, chain by chain, where they begin a line of the cache: a training step of a GRU of 512 units takes 0.8 of
// the time.
template <class T>
inline void add_product(const OuterArgs<T>& a, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t j, int count, const T* panel,
                        int vectors, T* to, ptrdiff_t to_row) {
  const Tile<T> add = exact_tiles<T>(vectors)[count - 1];
  const T* columns[most_tile_rows];
  const ptrdiff_t last = j + count - 1, next = last + count < a.j_end ? last + count : a.j_end - 1;
  const T* const ahead = a.d + row * a.d_row + next;
  const bool fetched = reinterpret_cast<uintptr_t>(a.d + last) / 64 == reinterpret_cast<uintptr_t>(a.d + next) / 64;
  for (ptrdiff_t r = 0; r < rows; r += OUTER_ROWS) {
    for (int c = 0; c < count; ++c) columns[c] = a.d + (row + r) * a.d_row + j + c;
    const Operand<T> d{columns, 0, a.d_row, rows - r < OUTER_ROWS ? rows - r : OUTER_ROWS};
    for (ptrdiff_t k = 0; k < d.k && !fetched; ++k) __builtin_prefetch(ahead + (r + k) * a.d_row);
    add({}, nullptr, d, reinterpret_cast<const std::byte*>(panel + r * vectors * lanes<T>), 0, to, to_row, to, to_row);
  }
}

// The gradient is as large as the weights, so a tile of it takes in as many rows as a panel holds before the next one
// is loaded: with one chain a visit, reading and writing it cost an eighth of the backward pass of 1024 units.
template <class T>
void outer(const OuterArgs<T>& a) {
  alignas(64) T scratch[TILE_ROWS * block_columns * lanes<T>];
  for (ptrdiff_t row = 0; row < a.rows; row += outer_panel_rows) {
    const ptrdiff_t rows = a.rows - row < outer_panel_rows ? a.rows - row : outer_panel_rows;
    for (ptrdiff_t i = 0; i < a.width; i += block_columns * lanes<T>) {
      const ptrdiff_t left = a.width - i;
      const int vectors = shape_of<T, dense(1)>(a.width, i).vectors;
      const RowTiles cut(a.j_end - a.j_begin, tile_rows(vectors));
      for (ptrdiff_t r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) {
          const T* p = a.operand[row + r] + a.operand_offset + i + v * lanes<T>;
          store(a.panel + (r * vectors + v) * lanes<T>, load_some(p, left - v * lanes<T>));
        }
      const bool full = left >= vectors * lanes<T>;
      for (ptrdiff_t t = 0, j = a.j_begin; t < cut.count(); j += cut.size(t++)) {
        const int count = cut.size(t);
        T* const tile = a.gradient + j * a.gradient_row + i;
        if (full) {
          for (int r = 0; r < count; ++r)
            for (int v = 0; v < vectors; ++v) __builtin_prefetch(tile + r * a.gradient_row + v * lanes<T>, 1);
          add_product(a, row, rows, j, count, a.panel, vectors, tile, a.gradient_row);
          continue;
        }
        const ptrdiff_t pitch = vectors * lanes<T>;
        for (int r = 0; r < count; ++r)
          for (int v = 0; v < vectors; ++v)
            store(scratch + r * pitch + v * lanes<T>,
                  load_some(tile + r * a.gradient_row + v * lanes<T>, left - v * lanes<T>));
        add_product(a, row, rows, j, count, a.panel, vectors, scratch, pitch);
        for (int r = 0; r < count; ++r)
          for (int v = 0; v < vectors; ++v)
            store_some(tile + r * a.gradient_row + v * lanes<T>, load(scratch + r * pitch + v * lanes<T>),
                       left - v * lanes<T>);
      }
    }
  }
}

// The same for biases, in chains of a few rows: they are cheap, and their terms have no factor that varies.
constexpr ptrdiff_t SUM_ROWS = 16;

template <class T>
void sum_rows(const T* d, ptrdiff_t d_row, ptrdiff_t rows, ptrdiff_t j_begin, ptrdiff_t j_end, T* sum) {
  for (ptrdiff_t j = j_begin; j < j_end; j += lanes<T>) {
    const ptrdiff_t n = j_end - j < lanes<T> ? j_end - j : lanes<T>;
    vec<T> total{};
    for (ptrdiff_t row = 0; row < rows; row += SUM_ROWS) {
      const ptrdiff_t end = rows - row < SUM_ROWS ? rows : row + SUM_ROWS;
      vec<T> acc{};
      for (ptrdiff_t r = row; r < end; ++r) acc = acc + load_partial(d + r * d_row + j, n);
      total = total + acc;
    }
    store_partial(sum + j, load_partial(sum + j, n) + total, n);
  }
}

// Rows that belong together, each group's sum to its own place: most groups are of one or a few rows. Their chains are
// as short as those of biases.
template <class T>
void sum_groups(const GroupSumArgs<T>& a) {
  constexpr int width = 4;  // vectors at a time
  const int32_t* row = a.rows;
  for (ptrdiff_t group = 0; group < a.groups; ++group) {
    const int32_t* const end = a.rows + a.ends[group];
    T* const sum = a.sums + a.places[group] * a.sums_row;
    for (ptrdiff_t j = a.j_begin; j < a.j_end; j += width * lanes<T>) {
      const ptrdiff_t n = a.j_end - j;
      vec<T> total[width];
#pragma GCC unroll 4
      for (int v = 0; v < width; ++v) total[v] = vec<T>{};
      for (const int32_t* r = row; r < end;) {
        const int32_t* const stop = end - r < SUM_ROWS ? end : r + SUM_ROWS;
        vec<T> acc[width];
#pragma GCC unroll 4
        for (int v = 0; v < width; ++v) acc[v] = vec<T>{};
        for (; r < stop; ++r) {
          const T* const from = a.d + *r * a.d_row + j;
          if (n >= width * lanes<T>) {
#pragma GCC unroll 4
            for (int v = 0; v < width; ++v) acc[v] = acc[v] + load(from + v * lanes<T>);
          } else {
            for (int v = 0; v * lanes<T> < n; ++v) acc[v] = acc[v] + load_some(from + v * lanes<T>, n - v * lanes<T>);
          }
        }
#pragma GCC unroll 4
        for (int v = 0; v < width; ++v) total[v] = total[v] + acc[v];
      }
      for (int v = 0; v < width && v * lanes<T> < n; ++v) {
        T* const to = sum + j + v * lanes<T>;
        store_some(to, load_some(to, n - v * lanes<T>) + total[v], n - v * lanes<T>);
      }
    }
    row = end;
  }
}

}  // namespace
}  // namespace pylstm
