#include "network.h"

#include <algorithm>
#include <memory>

namespace pylstm {
namespace {

// Weights that fill much of a core's L2 lie on huge pages: physically contiguous, they do not evict each other. With
// small pages, LSTM 256 -> 128 took 8.2 or 11.2 ms, as the addresses fell; with huge ones 8.2 always.
template <class F>
void pack_all(Arena& arena, const F& pack_layers) {
  pack_layers();
  arena.allocate(size_t(256) << 10);
  pack_layers();
}

}  // namespace

template <class T>
Network<T>::Network(const CellSpec& cell, const Sizes& sizes, const Kernels<T>& kernels, const Product<T>& product,
                    const std::vector<Params<const T>>& params, const std::vector<double>& constants)
    : cell_(cell), sizes_(sizes), kernels_(kernels), product_(product) {
  const size_t width = size_t(std::max(sizes.hidden, sizes.output));
  for (const double constant : constants) constants_.emplace_back(width, T(constant));
  for (const MaskSpec& mask : cell.masks) {
    probabilities_.push_back(constants[size_t(cell.constant(mask.probability))]);
    mask_means_.emplace_back(width, mask.kept == Kept::scaled ? T(1) : T(1 - probabilities_.back()));
  }
  lay_out();
  weights_.layers.resize(params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    weights_.layers[i].params = params[i];
    for (int p = 0; p < cell.parameters.count; ++p)
      if (cell.parameters[p].kind == ParamKind::vector && !params[i].data[p]) {
        zeros_.resize(width);
        weights_.layers[i].params.data[p] = zeros_.data();
      }
    weights_.layers[i].input = sizes.layer_input(int(i) / sizes.directions);
  }
  pack_all(weights_.arena, [this] {
    for (auto& layer : weights_.layers) pack_forward(layer, weights_.arena);
  });
}

template <class T>
void Network<T>::lay_out() {
  const auto add = [](std::vector<ptrdiff_t>& at, ptrdiff_t width) { at.push_back(at.back() + width); };
  record_ = column_ = {0};
  for (const RowSpec& record : cell_.records) add(record_, sizes_.of(record.width));
  mask_ = {record_.back()};
  for (const MaskSpec& mask : cell_.masks) add(mask_, sizes_.of(mask.width));
  for (const Column& column : cell_.columns) add(column_, sizes_.of(column.width));
  vector_ = {column_.back()};
  for (const ParamSpec& p : cell_.parameters) add(vector_, p.kind == ParamKind::vector ? rows(p) : 0);
  d_record_ = {vector_.back()};
  for (int i = 0; i < cell_.records.count; ++i)
    add(d_record_, cell_.d_record[i] ? sizes_.of(cell_.records[i].width) : 0);
}

template <class T>
void Network<T>::pack_forward(LayerWeights<T>& layer, Arena& arena) const {
  for (int s = 0; s < cell_.forward.count; ++s) {
    const ForwardStage& stage = cell_.forward[s];
    auto& packed = layer.forward[s];
    // The columns that a matrix adds to, in order.
    const auto sources = [&](int matrix, int Column::* block, ptrdiff_t k) {
      std::vector<PackSource<T>> found;
      for (int c = stage.column; c < stage.column + stage.columns; ++c) {
        const ptrdiff_t rows = sizes_.of(cell_.columns[c].width);
        if (const int b = cell_.columns[c].*block; b >= 0)
          found.push_back({layer.params.data[matrix] + b * rows * k, k, 1});
      }
      return found;
    };
    std::vector<PackSource<T>> x, operand;
    ptrdiff_t k = 0;
    if (stage.x_matrix >= 0) x = sources(stage.x_matrix, &Column::x, layer.input);
    if (stage.matrix >= 0) {
      k = columns(cell_.parameters[stage.matrix], layer.input);
      operand = sources(stage.matrix, &Column::operand, k);
    }
    const int accumulators = std::max(1, stage.columns);
    packed.blocks = {sizes_.of(stage.width), kernels_.lanes, accumulators,
                     shares_vectors(stage.columns, int(x.size()), int(operand.size()))};
    if (!x.empty()) packed.x = pack(arena, product_, packed.blocks, layer.input, x);
    if (!operand.empty()) packed.operand = pack(arena, product_, packed.blocks, k, operand);

    // A column's bias is the sum of those that add to it.
    const ptrdiff_t units = packed.blocks.units;
    std::vector<T> bias(size_t(accumulators * units), T(0));
    for (int p = 0; p < cell_.parameters.count; ++p) {
      if (!layer.params.data[p]) continue;
      for (int c = 0; c < stage.columns; ++c) {
        const int block = cell_.bias_block(cell_.parameters[p], stage, cell_.columns[stage.column + c]);
        if (block < 0) continue;
        const T* from = layer.params.data[p] + block * units;
        for (ptrdiff_t u = 0; u < units; ++u) bias[size_t(c * units + u)] += from[u];
      }
    }
    std::vector<PackSource<T>> columns;
    for (int c = 0; c < accumulators; ++c) columns.push_back({bias.data() + c * units, 1, 0});
    const Panels panels = pack(arena, kernels_.products[0], packed.blocks, 1, columns).panels;
    packed.bias = reinterpret_cast<const T*>(panels.data);
    packed.bias_block = panels.block / ptrdiff_t(sizeof(T));
  }
}

template <class T>
void Network<T>::pack_backward(const LayerWeights<T>& layer, LayerTransposed& transposed, Arena& arena) const {
  const auto pack_runs = [&](auto& packed, int matrix, const List<Run>& runs) {
    const ParamSpec& spec = cell_.parameters[matrix];
    const ptrdiff_t units = columns(spec, layer.input), block = sizes_.of(spec.rows) * units;
    packed.blocks = {units, kernels_.lanes, 1};
    for (int i = 0; i < runs.count; ++i)
      packed.run[i] = pack<T>(arena, product_, packed.blocks, run_width(runs[i]),
                              {{layer.params.data[matrix] + runs[i].block * block, 1, units}});
  };
  for (int s = 0; s < cell_.backward.count; ++s) {
    const BackwardStage& stage = cell_.backward[s];
    if (stage.through >= 0)
      pack_runs(transposed.stage[s], cell_.forward[stage.through].matrix, cell_.forward[stage.through].runs);
    else
      transposed.stage[s].blocks = {sizes_.of(stage.width), kernels_.lanes, 1};
  }
  if (cell_.x_matrix >= 0) pack_runs(transposed.dx, cell_.x_matrix, cell_.x_runs());
}

template <class T>
void Network<T>::prepare_backward() const {
  if (transposed_.load(std::memory_order_acquire)) return;
  auto made = std::make_unique<Transposed>();
  made->layers.resize(weights_.layers.size());
  pack_all(made->arena, [&] {
    for (size_t i = 0; i < made->layers.size(); ++i) pack_backward(weights_.layers[i], made->layers[i], made->arena);
  });
  const Transposed* none = nullptr;
  if (transposed_.compare_exchange_strong(none, made.get(), std::memory_order_acq_rel)) made.release();
}

template class Network<float>;
template class Network<double>;

}  // namespace pylstm
