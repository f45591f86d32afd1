// Where x is rows of a table: the gradients to the accumulators, added up per distinct row. Those to the rows and to
// the matrix that multiplies them are products over the distinct rows alone.
//
// A group is the rows of a chunk that belong to one symbol. Each worker adds up its share of the columns, group by
// group in the order in which the chunk names them, so that the order of no sum depends on who adds it.
#pragma once

#include <algorithm>
#include <utility>

#include "backward_layer.h"
#include "weight_gradients.h"

namespace pylstm {

template <class T>
class SymbolGradients {
 public:
  explicit SymbolGradients(const BackwardLayer<T>& layer) {
    if (!layer.call.symbols.symbols) return;
    group_.assign(size_t(layer.call.symbols.symbols->distinct()), -1);
    const auto rows = size_t(layer.shared.gate_rows.count());
    of_row_.resize(rows), rows_.resize(rows);
    for (auto* entries : {&places_, &ends_}) entries->reserve(std::min(rows, group_.size()));
    d_rows_.reserve(part), sums_.reserve(part);
  }

  void start(const BackwardLayer<T>& at) const {
    for_columns(at, [&](ptrdiff_t begin, ptrdiff_t end) {
      for (ptrdiff_t i = 0; i < at.call.symbols.symbols->distinct(); ++i)
        std::fill(at.shared.symbol_row(i) + begin, at.shared.symbol_row(i) + end, T(0));
    });
  }

  // The steps [begin, end).
  void add(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    group_rows(at, begin, end);
    for_columns(at, [&](ptrdiff_t from, ptrdiff_t to) {
      GroupSumArgs<T> a;
      a.groups = ptrdiff_t(places_.size());
      a.ends = ends_.data(), a.rows = rows_.data(), a.places = places_.data();
      a.d = at.gate_row(begin, 0), a.d_row = at.shared.gate_row;
      a.j_begin = from, a.j_end = to;
      a.sums = at.shared.symbol_row(0), a.sums_row = at.shared.gate_row;
      at.network.kernels().sum_groups(a);
    });
  }

  // When all workers have added up all chunks.
  void finish(const BackwardLayer<T>& at, WeightGradients<T>& weights) {
    const SymbolInput<T>& input = at.call.symbols;
    const ptrdiff_t distinct = input.symbols->distinct();
    for_parts(at, {at.call.need_params ? distinct : 0, 0, 1}, [&](ptrdiff_t begin, ptrdiff_t end) {
      weights.add_product(at, at.shared.symbol_row(begin), end - begin,
                          [&](ptrdiff_t i) { return input.rows + (begin + i) * at.sizes.input; });
    });
    if (!at.call.d_rows) return;
    for_parts(at, {distinct, at.group(), at.shared.split.rows}, [&](ptrdiff_t begin, ptrdiff_t end) {
      d_rows_.clear(), sums_.clear();
      for (ptrdiff_t i = begin; i < end; ++i) {
        sums_.push_back(at.shared.symbol_row(i));
        d_rows_.push_back(at.call.d_rows + i * at.sizes.input);
      }
      StageArgs<T> a = at.product(at.transposed->dx, at.cell.x_runs(), sums_.data(), 0);
      a.rows = end - begin;
      a.out[0] = {d_rows_.data(), 0};
      a.in[0] = at.as_const(a.out[0]);
      const StageId id = at.reverse ? StageId::add : StageId::linear;
      at.network.kernels().stage[int(id)][0](a);
    });
  }

 private:
  static constexpr ptrdiff_t part = outer_panel_rows;  // distinct rows, until worker 0 asks for interrupts again

  template <class F>
  static void for_parts(const BackwardLayer<T>& at, const Share& rows, const F& each) {
    for (ptrdiff_t begin = rows.begin; begin < rows.end && !at.shared.interrupt.stopped(); begin += part) {
      each(begin, std::min(begin + part, rows.end));
      at.shared.interrupt.poll(at.id);
    }
  }

  // The worker's share of the columns that x adds to.
  template <class F>
  static void for_columns(const BackwardLayer<T>& at, const F& each) {
    for (const Run& run : at.cell.x_runs()) {
      const Share share = at.my_share(at.network.run_width(run));
      const ptrdiff_t first = at.network.column(run.column);
      if (share.begin < share.end) each(first + share.begin, first + share.end);
    }
  }

  // Sorts the rows of a chunk by their symbols: groups in the order of their first rows.
  void group_rows(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    places_.clear(), ends_.clear();
    int32_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t p = 0; p < at.order.active(s); ++p) {
        const int32_t place = at.call.symbols.symbols->place(at.time(p, s), at.order.sequence(p));
        int32_t& group = group_[size_t(place)];
        if (group < 0) group = int32_t(places_.size()), places_.push_back(place), ends_.push_back(0);
        ++ends_[size_t(group)];
        of_row_[size_t(count++)] = group;
      }
    int32_t before = 0;
    for (int32_t& entry : ends_) before += std::exchange(entry, before);  // where the group begins, until it is filled
    for (int32_t row = 0; row < count; ++row) rows_[size_t(ends_[size_t(of_row_[size_t(row)])]++)] = row;
    for (const int32_t place : places_) group_[size_t(place)] = -1;
  }

  std::vector<int32_t> group_;          // of a symbol in the chunk, or -1
  std::vector<int32_t> of_row_, rows_;  // the group of each row; the rows group by group
  std::vector<int32_t> places_, ends_;  // of each group
  std::vector<T*> d_rows_;
  std::vector<const T*> sums_;
};

}  // namespace pylstm
