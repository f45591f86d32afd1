// A product as a record of types and functions: how weights are stored, and the tiles that multiply rows by them. A
// stage runs the tiles it is given, which leave accumulators of T for the cell, so neither the cells nor the loops know
// what the weights were stored as.
//
// A storage type is one file in this folder and a line in list.h.
#pragma once

#include <cstddef>

#include "cells/list.h"

namespace pylstm {

// Rows to be multiplied: row r starts at rows[r] + offset and its k-th element lies k * step further.
template <class T>
struct Operand {
  const T* const* rows = nullptr;
  ptrdiff_t offset = 0;
  ptrdiff_t step = 1;
  ptrdiff_t k = 0;
};

// A packed matrix: for every block of units a panel [k][columns][lanes], `block` bytes apart (see pack.h).
struct Panels {
  const std::byte* data = nullptr;
  ptrdiff_t block = 0;

  const std::byte* of_block(ptrdiff_t i) const { return data + i * block; }
};

// A matrix of which element (k, unit) of a column lies at data[unit * unit_stride + k * k_stride].
template <class T>
struct PackSource {
  const T* data = nullptr;
  ptrdiff_t unit_stride = 0, k_stride = 0;
};

// `width` lanes of one column of a panel, of which `units` hold weights and the others zeros: lane i of step k goes to
// element k * step + i.
template <class T>
struct PackLanes {
  PackSource<T> source;
  ptrdiff_t unit = 0, units = 0, width = 0, k = 0;
  std::byte* to = nullptr;
  ptrdiff_t step = 0;
};

// The columns of a register tile that each of its two operands adds to (bit c: column c). They differ where a cell
// keeps the halves of a gate apart: the candidate of a GRU with reset after the product.
struct TileShape {
  int columns = 0;
  unsigned first = 0, second = 0;
  constexpr bool operator==(const TileShape&) const = default;

  // The same for n unit vectors side by side.
  constexpr TileShape repeated(int n) const {
    TileShape shape{columns * n};
    for (int i = 0; i < n; ++i) shape.first |= first << i * columns, shape.second |= second << i * columns;
    return shape;
  }
};
constexpr TileShape dense(int columns) { return {columns, (1u << columns) - 1, (1u << columns) - 1}; }

// Of one unit vector of a stage; one without a product runs as one whose product has no terms.
constexpr TileShape tile_shape(const CellSpec& cell, const ForwardStage& stage) {
  if (stage.columns == 0) return dense(1);
  TileShape shape{stage.columns};
  for (int c = 0; c < stage.columns; ++c) {
    const Column& column = cell.columns[stage.column + c];
    shape.first |= unsigned(column.x >= 0) << c, shape.second |= unsigned(column.operand >= 0) << c;
  }
  return shape;
}

namespace {

constexpr List<TileShape> all_tile_shapes() {
  List<TileShape> shapes;
  const auto add = [&](const TileShape& shape) {
    for (int n = 1; n <= block_columns / shape.columns; ++n)
      if (shapes.find(shape.repeated(n)) < 0) shapes.add(shape.repeated(n));
  };
  add(dense(1));
  for (const CellSpec& cell : cell_specs)
    for (const ForwardStage& stage : cell.forward) add(tile_shape(cell, stage));
  return shapes;
}
constexpr List<TileShape> tile_shapes = all_tile_shapes();

}  // namespace

// Accumulators = init + first . first_panel + second . second_panel for some rows and one block: see tile.h.
template <class T>
using Tile = void (*)(const Operand<T>& first, const std::byte* first_panel, const Operand<T>& second,
                      const std::byte* second_panel, ptrdiff_t row, const T* init, ptrdiff_t init_row, T* out,
                      ptrdiff_t out_row);

constexpr int most_tile_rows = 8;

template <class T>
struct Product {
  const char* name = nullptr;  // of the storage type
  ptrdiff_t element = 0;       // bytes of a stored weight
  void (*pack)(const PackLanes<T>&) = nullptr;
  Tile<T> tiles[tile_shapes.count][most_tile_rows] = {};  // by shape, then by rows less one; see tile_rows
};

}  // namespace pylstm
