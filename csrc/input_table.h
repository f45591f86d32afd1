// bias + x . W of the first layer for rows of a table, each computed once: what a step starts from in place of its own
// input product. The same chain, and so the same bits.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "network.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {

template <class T>
class InputTable {
 public:
  InputTable(const Network<T>& network, ptrdiff_t rows) : network_(network), rows_(rows) {
    for (int d = 0; d < network.sizes().directions; ++d)
      sums_.emplace_back(offset(network, rows, network.cell().forward.count));
  }

  const Network<T>& network() const { return network_; }
  ptrdiff_t rows() const { return rows_; }
  // Of the tables that `rows` rows make; std::bad_alloc where that is no size.
  static ptrdiff_t bytes(const Network<T>& network, ptrdiff_t rows) {
    return checked_product({offset(network, rows, network.cell().forward.count), network.sizes().directions},
                           sizeof(T)) *
           ptrdiff_t(sizeof(T));
  }

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
  static ptrdiff_t row_of(const Network<T>& network) { return block_columns * network.kernels().lanes; }
  ptrdiff_t row() const { return row_of(network_); }
  ptrdiff_t block() const { return rows_ * row(); }
  // Of a stage's accumulators, [block][row][columns][lanes].
  static ptrdiff_t offset(const Network<T>& network, ptrdiff_t rows, int stage) {
    ptrdiff_t blocks = 0;
    for (int s = 0; s < stage; ++s)
      if (network.cell().forward[s].x_matrix >= 0) blocks += network.layer(0, 0).forward[s].blocks.count();
    return checked_product({rows, row_of(network), blocks}, sizeof(T));
  }
  T* of(int direction, int stage) const { return sums_[size_t(direction)].data() + offset(network_, rows_, stage); }

  const Network<T>& network_;
  const ptrdiff_t rows_;
  std::vector<AlignedBuffer<T>> sums_;  // of each direction
};

// That of a whole table, made by `threads` threads at most.
template <class T>
std::unique_ptr<const InputTable<T>> multiplied(const Network<T>& network, const T* table, ptrdiff_t table_row,
                                                ptrdiff_t count, int threads) {
  auto made = std::make_unique<InputTable<T>>(network, count);
  std::vector<const T*> rows;
  rows.reserve(size_t(count));
  for (ptrdiff_t i = 0; i < count; ++i) rows.push_back(table + i * table_row);
  constexpr ptrdiff_t alone = 256;  // rows that are not worth waking a thread for
  for (int workers = int(std::clamp<ptrdiff_t>(ceil_div(count, alone), 1, threads));;) {
    const int got = parallel(workers, [&](int id) {
      const Share share(count, id, workers);
      made->multiply(rows.data() + share.begin, share.begin, share.end);
    });
    if (got == workers) return made;
    workers = got;
  }
}

}  // namespace pylstm
