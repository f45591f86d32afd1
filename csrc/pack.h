// Weights in the order the tiles read them: for every block of units a panel [k][columns][lanes], padded with zeros.
//
// A block is `block_columns` accumulator vectors wide: one vector of units with its four gates side by side, or four
// vectors of units of a stage with one column. The last block holds as many vectors as are left.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels.h"
#include "memory.h"

namespace pylstm {

// How `units` units of a stage with `columns` columns fall into blocks.
struct Blocks {
  ptrdiff_t units = 0, lanes = 0;
  int columns = 1;
  bool dense = false;  // four columns that all operands feed: the last block may be narrow (gate_lanes)

  ptrdiff_t vectors() const { return (units + lanes - 1) / lanes; }
  ptrdiff_t vectors_per_block() const { return block_columns / columns; }
  ptrdiff_t count() const { return (vectors() + vectors_per_block() - 1) / vectors_per_block(); }
  // Lanes of one column of vector v.
  ptrdiff_t lanes_of(ptrdiff_t v) const { return dense ? gate_lanes(units - v * lanes, lanes) : lanes; }
};

struct PackedMatrix {
  Panels panels;
  ptrdiff_t k = 0;
};

// sources[c] is column c of the panel; there may be fewer than blocks.columns: a matrix that feeds only some of the
// accumulators. Nothing is packed while the arena only adds sizes up.
template <class T>
PackedMatrix pack(Arena& arena, const Product<T>& product, const Blocks& blocks, ptrdiff_t k_count,
                  const std::vector<PackSource<T>>& sources);

}  // namespace pylstm
