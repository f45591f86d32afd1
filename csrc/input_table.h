// bias + x . W of the first layer for rows of a table, each computed once: what a step starts from in place of its own
// input product. The same chain, and so the same bits.
#pragma once

#include <vector>

#include "network.h"
#include "rows.h"

namespace pylstm {

template <class T>
class InputTable {
 public:
  InputTable(const Network<T>& network, ptrdiff_t rows) : network_(network), rows_(rows) {
    for (int d = 0; d < network.sizes().directions; ++d) sums_.emplace_back(offset(network.cell().forward.count));
  }

  ptrdiff_t rows() const { return rows_; }

  // The rows [begin, end), of which x[0] is the first.
  void multiply(const T* const* x, ptrdiff_t begin, ptrdiff_t end) const {
    for (int d = 0; d < network_.sizes().directions; ++d)
      for (int s = 0; s < network_.cell().forward.count; ++s) {
        const ForwardStage& stage = network_.cell().forward[s];
        if (stage.x_matrix < 0) continue;
        const auto& packed = network_.layer(0, d).forward[s];
        StageArgs<T> a;
        a.product = &network_.product();
        a.rows = end - begin;
        a.units = packed.blocks.units;
        a.block_end = packed.blocks.count();
        a.init = packed.bias, a.init_block = packed.bias_block;
        a.first = {x, 0, 1, packed.x.k}, a.first_panels = packed.x.panels;
        a.sums = of(d, s) + begin * row(), a.sums_block = block(), a.sums_row = row();
        network_.kernels().sums[stage.id](a);
      }
  }

  // A stage starts from these rows.
  void start(StageArgs<T>& a, int direction, int stage, const int32_t* places) const {
    a.init = of(direction, stage), a.init_block = block(), a.init_row = row();
    a.init_places = places;
  }

 private:
  ptrdiff_t row() const { return block_columns * network_.kernels().lanes; }
  ptrdiff_t block() const { return checked_product({rows_, row()}); }
  // Of a stage's accumulators, [block][row][columns][lanes].
  ptrdiff_t offset(int stage) const {
    ptrdiff_t before = 0;
    for (int s = 0; s < stage; ++s)
      if (network_.cell().forward[s].x_matrix >= 0)
        before += checked_product({block(), network_.layer(0, 0).forward[s].blocks.count()}, sizeof(T));
    return before;
  }
  T* of(int direction, int stage) const { return sums_[size_t(direction)].data() + offset(stage); }

  const Network<T>& network_;
  const ptrdiff_t rows_;
  std::vector<AlignedBuffer<T>> sums_;  // of each direction
};

}  // namespace pylstm
