// The gradients to a layer's parameters, added up chunk by chunk: d_gates^T . operand over all sequences, each worker
// for its rows of every matrix.
#pragma once

#include <algorithm>

#include "backward_layer.h"

namespace pylstm {

template <class T>
class WeightGradients {
 public:
  explicit WeightGradients(const BackwardLayer<T>& layer)
      : operand_(size_t(std::max(layer.shared.chunk_rows, outer_panel_rows))),
        panel_(outer_panel_rows * block_columns * layer.network.kernels().lanes) {}

  // The worker's rows start from zero, or from what is there.
  void start(const BackwardLayer<T>& at) const {
    const bool anew = !at.shared.call.accumulate;
    for (int i = 0; i < at.cell.parameters.count && anew; ++i) {
      const ParamSpec& p = at.cell.parameters[i];
      if (p.kind != ParamKind::matrix) continue;
      const Share rows = at.my_share(at.network.rows(p));
      const ptrdiff_t width = at.network.columns(p, at.weights->input);
      std::fill(at.d_params.data[i] + rows.begin * width, at.d_params.data[i] + rows.end * width, T(0));
    }
    const Share columns = at.my_share(ptrdiff_t(at.shared.sums.size()));
    std::fill(at.shared.sums.begin() + columns.begin, at.shared.sums.begin() + columns.end, T(0));
  }

  // The steps [begin, end).
  void add(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    if (at.cell.x_matrix >= 0 && !at.by_symbol) {
      point_operand(at, begin, end,
                    [&](ptrdiff_t s, ptrdiff_t p) { return at.x.row(at.time(p, s), at.order.sequence(p)); });
      outer(at, at.gate_row(begin, 0), rows_of(at, begin, end), at.cell.x_matrix, at.cell.x_runs(), 0);
    }
    for (const ForwardStage& stage : at.cell.forward) {
      if (stage.matrix < 0) continue;
      const bool record = stage.operand.where == Where::record;
      if (record)
        point_operand(at, begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return at.record_row(s, p); });
      else
        point_operand(at, begin, end,
                      [&](ptrdiff_t s, ptrdiff_t p) { return at.previous_row(stage.operand.index, s, p); });
      outer(at, at.gate_row(begin, 0), rows_of(at, begin, end), stage.matrix, stage.runs,
            record ? at.network.record(stage.operand.index) : 0);
    }
    bool biases = false;
    for (int i = 0; i < at.cell.parameters.count; ++i)
      biases = biases || (at.d_params.data[i] && is_bias(at.cell.parameters[i]));
    if (biases) sum(at, begin, end, 0, at.network.column(at.cell.bias_columns()));
    sum(at, begin, end, at.network.vector(0), at.network.sums_width());
  }

  // Of the matrix that multiplies x, whose rows are not those of a chunk: x(i) with the gradients to the accumulators
  // at d_gates, row by row; a panel of them at most.
  template <class F>
  void add_product(const BackwardLayer<T>& at, const T* d_gates, ptrdiff_t rows, const F& x) {
    for (ptrdiff_t i = 0; i < rows; ++i) operand_[size_t(i)] = x(i);
    outer(at, d_gates, rows, at.cell.x_matrix, at.cell.x_runs(), 0);
  }

  // When all workers have added up all chunks: the sums that are the gradients to biases and other vectors.
  void finish(const BackwardLayer<T>& at) const {
    if (at.id != 0) return;
    const bool add = at.shared.call.accumulate;
    const auto put = [add](const T* from, ptrdiff_t count, T* to) {
      for (ptrdiff_t j = 0; j < count; ++j) to[j] = add ? to[j] + from[j] : from[j];
    };
    for (int i = 0; i < at.cell.parameters.count; ++i) {
      const ParamSpec& p = at.cell.parameters[i];
      T* const to = at.d_params.data[i];
      if (!to) continue;
      const T* const sums = at.shared.sums.data();
      if (p.kind == ParamKind::vector) put(sums + at.network.vector(i), at.network.rows(p), to);
      if (!is_bias(p)) continue;
      const ptrdiff_t width = at.sizes.of(p.rows);
      for (const ForwardStage& stage : at.cell.forward)
        for (int c = stage.column; c < stage.column + stage.columns; ++c)
          if (const int block = at.cell.bias_block(p, stage, at.cell.columns[c]); block >= 0)
            put(sums + at.network.column(c), width, to + block * width);
    }
  }

 private:
  static bool is_bias(const ParamSpec& p) {
    return p.kind == ParamKind::bias_of_x || p.kind == ParamKind::bias_of_states;
  }

  // The columns [from, to) of the gradients to the accumulators, over the rows of a chunk.
  void sum(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t from, ptrdiff_t to) const {
    if (from == to) return;
    const Share share = at.my_share(to - from);
    at.network.kernels().sum_rows(at.gate_row(begin, 0), at.shared.gate_row, rows_of(at, begin, end),
                                  from + share.begin, from + share.end, at.shared.sums.data());
  }

  template <class F>
  void point_operand(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end, const F& row) {
    ptrdiff_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t p = 0; p < at.order.active(s); ++p) operand_[size_t(count++)] = row(s, p);
  }

  static ptrdiff_t rows_of(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    return at.order.start(end) - at.order.start(begin);
  }

  // The gradient to a matrix += d_gates^T . operand, for the columns that `runs` names.
  void outer(const BackwardLayer<T>& at, const T* d_gates, ptrdiff_t rows, int matrix, const List<Run>& runs,
             ptrdiff_t offset) {
    const ParamSpec& spec = at.cell.parameters[matrix];
    const ptrdiff_t width = at.network.columns(spec, at.weights->input);
    for (const Run& run : runs) {
      const Share share = at.my_share(at.network.run_width(run));
      OuterArgs<T> a;
      a.rows = rows;
      a.d = d_gates + at.network.column(run.column), a.d_row = at.shared.gate_row;
      a.j_begin = share.begin, a.j_end = share.end;
      a.operand = operand_.data(), a.operand_offset = offset;
      a.width = width;
      a.gradient = at.d_params.data[matrix] + run.block * at.sizes.of(spec.rows) * width, a.gradient_row = width;
      a.panel = panel_.data();
      at.network.kernels().outer(a);
    }
  }

  std::vector<const T*> operand_;  // rows of a chunk, or a panel of rows of a table
  AlignedBuffer<T> panel_;
};

}  // namespace pylstm
