// What one ISA offers for matrix products: the border between matmul.cpp and matmul_tile.h. Plain structs and pointers.
#pragma once

#include <cstddef>

namespace pylstm {

// A matrix in someone else's memory: element (i, j) at data[i * row + j * column]; strides may be 0 or negative.
template <class T>
struct Matrix {
  T* data = nullptr;
  ptrdiff_t row = 0, column = 1;
  T* at(ptrdiff_t i, ptrdiff_t j) const { return data + i * row + j * column; }
};

// Up to `tile_rows` rows of c, `columns` wide, from k rows of panels: c = init + a . b, or c += a . b.
//
// Every element is a sum of chains of `chain` fused multiply-adds in ascending k. The first one of c = .. begins with
// init, all others with zero.
template <class T>
struct MatmulArgs {
  ptrdiff_t k = 0, chain = 0;
  const T* a = nullptr;  // element (row, k) at a[row * a_row + k * a_step]
  ptrdiff_t a_row = 0, a_step = 0;
  const T* b = nullptr;  // panel p, row k at b + p * b_panel + k * b_step: whole vectors
  ptrdiff_t b_panel = 0, b_step = 0;
  T* c = nullptr;  // of which each row is contiguous
  ptrdiff_t c_row = 0, columns = 0;
  const T* init = nullptr;  // of every column, for all rows; null: zero
  bool add = false;
  const T* a_next = nullptr;  // element (0, 0) of as many rows that come next, to be brought near meanwhile; or null
};

// to[k * to_step + unit] = from[unit * unit_stride + k * k_stride], for all units, then zeros up to `width`. One of the
// two strides is 1.
template <class T>
struct MatmulPack {
  const T* from = nullptr;
  ptrdiff_t unit_stride = 0, k_stride = 0;
  ptrdiff_t units = 0, k = 0;
  T* to = nullptr;
  ptrdiff_t to_step = 0, width = 0;
};

// Columns that panels of every ISA and dtype fill.
constexpr ptrdiff_t panels_fill = 48;

// Tiles of a that lie side by side are packed together, so many k at a time: a cache line of a is read once.
constexpr ptrdiff_t pack_run = 16;

// How the columns of a group are cut into panels: as wide as a tile, but for the last two where a single vector would
// remain. They share what is left, because a tile of one vector has half the speed: 0.97 to 1.0 of the time for 256
// columns.
struct PanelCuts {
  ptrdiff_t width, columns, count, early;
  PanelCuts(ptrdiff_t columns, ptrdiff_t width, ptrdiff_t lanes)
      : width(width),
        columns(columns),
        count((columns + width - 1) / width),
        early(width > 2 * lanes && count > 1 && columns - (count - 1) * width <= lanes ? lanes : 0) {}
  ptrdiff_t begin(ptrdiff_t i) const { return i * width - (i == count - 1 ? early : 0); }
  ptrdiff_t end(ptrdiff_t i) const { return i == count - 1 ? columns : begin(i + 1); }
};

template <class T>
struct MatmulKernels {
  ptrdiff_t tile_rows = 0, panel_columns = 0;
  void (*tile)(const MatmulArgs<T>&, ptrdiff_t rows) = nullptr;
  void (*pack)(const MatmulPack<T>&) = nullptr;
};

}  // namespace pylstm
