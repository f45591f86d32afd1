#include "network.h"

#include <algorithm>
#include <memory>

namespace pylstm {
namespace {

// The first of the rows of the matrix `weight` that belong to gate g.
template <class T>
const T* gate_rows(const Params<const T>& params, Param weight, const Sizes& sizes, ptrdiff_t columns, int gate) {
  return params.of(weight) + gate * sizes.hidden * columns;
}

// Weights that fill much of a core's L2 lie on huge pages: physically contiguous, they do not evict each other. With
// small pages, LSTM 256 -> 128 took 8.2 or 11.2 ms, as the addresses fell; with huge ones 8.2 always.
template <class T, class F>
void pack_all(Arena<T>& arena, const F& pack_layers) {
  pack_layers();
  arena.allocate(size_t(256) << 10);
  pack_layers();
}

}  // namespace

template <class T>
Network<T>::Network(const CellSpec& cell, const Sizes& sizes, const Kernels<T>& kernels,
                    const std::vector<Params<const T>>& params)
    : cell_(cell), sizes_(sizes), kernels_(kernels) {
  weights_.layers.resize(params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    weights_.layers[i].params = params[i];
    weights_.layers[i].input = sizes.layer_input(int(i) / sizes.directions);
  }
  pack_all(weights_.arena, [this] {
    for (auto& layer : weights_.layers) pack_forward(layer, weights_.arena);
  });
}

template <class T>
void Network<T>::pack_forward(LayerWeights<T>& layer, Arena<T>& arena) const {
  const ptrdiff_t hidden = sizes_.hidden;
  for (int s = 0; s < cell_.forward_stages; ++s) {
    const ForwardStage& stage = cell_.forward[s];
    auto& packed = layer.forward[s];
    packed.blocks = {sizes_.of(stage.width), kernels_.lanes, stage.columns,
                     stage.columns == block_columns && stage.gates == block_columns};
    const ptrdiff_t k = stage.operand.where == Where::prev_h ? sizes_.output : hidden;
    std::vector<PackSource<T>> x, operand;
    for (int g = stage.gate; g < stage.gate + stage.gates; ++g) {
      if (stage.takes_x)
        x.push_back({gate_rows(layer.params, Param::weight_ih, sizes_, layer.input, g), layer.input, 1});
      operand.push_back({gate_rows(layer.params, stage.weight, sizes_, k, g), k, 1});
    }
    if (stage.takes_x) packed.x = pack(arena, packed.blocks, layer.input, x);
    packed.operand = pack(arena, packed.blocks, k, operand);

    // A column's bias is the sum of those of the gates that add to it.
    const ptrdiff_t units = packed.blocks.units;
    std::vector<T> bias(size_t(stage.columns * units), T(0));
    const auto add = [&](Param p, int gate, int column) {
      if (!stage.takes_x || !layer.params.of(p)) return;
      const T* from = layer.params.of(p) + gate * hidden;
      T* to = bias.data() + (column - stage.column) * units;
      for (ptrdiff_t u = 0; u < units; ++u) to[u] += from[u];
    };
    for (int g = stage.gate; g < stage.gate + stage.gates; ++g) {
      add(Param::bias_ih, g, g);
      add(Param::bias_hh, g, cell_.r_column[g]);
    }
    std::vector<PackSource<T>> columns;
    for (int c = 0; c < stage.columns; ++c) columns.push_back({bias.data() + c * units, 1, 0});
    packed.bias = pack(arena, packed.blocks, 1, columns);
  }
}

template <class T>
void Network<T>::pack_backward(const LayerWeights<T>& layer, LayerTransposed<T>& transposed, Arena<T>& arena) const {
  for (int s = 0; s < cell_.backward_stages; ++s) {
    const BackwardStage& stage = cell_.backward[s];
    auto& packed = transposed.stage[s];
    const ptrdiff_t units = sizes_.of(stage.width);
    packed.blocks = {units, kernels_.lanes, 1};
    for (int i = 0; i < max_segments; ++i) {
      const Segment& segment = stage.segments[i];
      if (segment.count == 0) continue;
      const T* rows = gate_rows(layer.params, stage.weight, sizes_, units, segment.gate);
      packed.segment[i] = pack<T>(arena, packed.blocks, segment_width(segment), {{rows, 1, units}});
    }
  }
  transposed.dx.blocks = {layer.input, kernels_.lanes, 1};
  transposed.dx.segment[0] = pack<T>(arena, transposed.dx.blocks, cell_.gates * sizes_.hidden,
                                     {{layer.params.of(Param::weight_ih), 1, layer.input}});
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
