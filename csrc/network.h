// The weights of a stack of layers, packed for one ISA: immutable once made, so any number of threads may share it.
#pragma once

#include <atomic>
#include <vector>

#include "kernels.h"
#include "pack.h"

namespace pylstm {

struct Sizes {
  ptrdiff_t input = 0, hidden = 0, output = 0;  // output: width of h, smaller than hidden with a projection
  int layers = 1, directions = 1;

  ptrdiff_t width() const { return directions * output; }  // of a layer's output
  ptrdiff_t layer_input(int layer) const { return layer == 0 ? input : width(); }
  ptrdiff_t of(Width w) const { return w == Width::hidden ? hidden : output; }
  ptrdiff_t state(int i) const { return i == 0 ? output : hidden; }
};

// The parameters of one layer and direction (or their gradients), in C order as PyTorch shapes them; null where there
// is none. Not owned.
template <class T>
struct Params {
  T* data[param_count] = {};
  T* of(Param p) const { return data[static_cast<int>(p)]; }
};

// What the forward pass reads of one layer and direction.
template <class T>
struct LayerWeights {
  struct Forward {
    Blocks blocks;
    PackedMatrix<T> x, operand, bias;
  };
  Params<const T> params;
  ptrdiff_t input = 0;
  Forward forward[max_stages];
};

// What the backward pass reads: the transposed matrices.
template <class T>
struct LayerTransposed {
  struct Product {
    Blocks blocks;
    PackedMatrix<T> segment[max_segments];
  };
  Product stage[max_stages];
  Product dx;  // weight_ih
};

// Matrices of all layers and directions, and their memory.
template <class Layer, class T>
struct Packed {
  std::vector<Layer> layers;
  Arena<T> arena;
};

template <class T>
class Network {
 public:
  Network(const CellSpec& cell, const Sizes& sizes, const Kernels<T>& kernels,
          const std::vector<Params<const T>>& params);
  ~Network() { delete transposed_.load(); }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const CellSpec& cell() const { return cell_; }
  const Sizes& sizes() const { return sizes_; }
  const Kernels<T>& kernels() const { return kernels_; }
  const LayerWeights<T>& layer(int layer, int direction) const { return weights_.layers[index(layer, direction)]; }
  // After prepare_backward.
  const LayerTransposed<T>& transposed(int layer, int direction) const {
    return transposed_.load(std::memory_order_acquire)->layers[index(layer, direction)];
  }

  // Elements of a row of the gradients to the accumulators, and the offset of a column in it.
  ptrdiff_t gate_width() const { return cell_.columns * sizes_.hidden + (cell_.projection ? sizes_.output : 0); }
  ptrdiff_t record_width() const { return cell_.records * sizes_.hidden; }
  // k of a run of gates: a projection's column is `output` wide.
  ptrdiff_t segment_width(const Segment& s) const {
    return s.column == cell_.columns ? sizes_.output : s.count * sizes_.hidden;
  }

  // Makes the transposed panels on first use (inference never does); the parameters must still be there. Two threads
  // may both make them: nobody waits, and the first one's are kept.
  void prepare_backward() const;

 private:
  using Weights = Packed<LayerWeights<T>, T>;
  using Transposed = Packed<LayerTransposed<T>, T>;

  size_t index(int layer, int direction) const { return size_t(layer * sizes_.directions + direction); }
  void pack_forward(LayerWeights<T>& layer, Arena<T>& arena) const;
  void pack_backward(const LayerWeights<T>& layer, LayerTransposed<T>& transposed, Arena<T>& arena) const;

  const CellSpec& cell_;
  Sizes sizes_;
  const Kernels<T>& kernels_;
  Weights weights_;
  mutable std::atomic<const Transposed*> transposed_{nullptr};  // owned
};

}  // namespace pylstm
