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
  // Of a layer whose x has `x` features.
  ptrdiff_t of(Size size, ptrdiff_t x) const {
    return size == Size::one ? 1 : size == Size::input ? x : size == Size::hidden ? hidden : output;
  }
  ptrdiff_t of(Size size) const { return of(size, input); }  // of what does not depend on the layer
};

// The parameters of one layer and direction (or their gradients), in the cell's order and C order; null where there is
// none. Not owned.
template <class T>
struct Params {
  T* data[max_parameters] = {};
};

// What the forward pass reads of one layer and direction.
template <class T>
struct LayerWeights {
  struct Forward {
    Blocks blocks;
    PackedMatrix x, operand;
    const T* bias = nullptr;  // [block][columns][lanes]
    ptrdiff_t bias_block = 0;
  };
  Params<const T> params;
  ptrdiff_t input = 0;
  Forward forward[max_stages];
};

// What the backward pass reads: the transposed matrices.
struct LayerTransposed {
  struct Matrix {
    Blocks blocks;
    PackedMatrix run[max_runs];
  };
  Matrix stage[max_stages];
  Matrix dx;  // of the matrix that multiplies x
};

// Matrices of all layers and directions, and their memory.
template <class Layer>
struct Packed {
  std::vector<Layer> layers;
  Arena arena;
};

template <class T>
class Network {
 public:
  // `product` is one of `kernels.products`. constants: those of the cell, in its order.
  Network(const CellSpec& cell, const Sizes& sizes, const Kernels<T>& kernels, const Product<T>& product,
          const std::vector<Params<const T>>& params, const std::vector<double>& constants = {});
  ~Network() { delete transposed_.load(); }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const CellSpec& cell() const { return cell_; }
  const Sizes& sizes() const { return sizes_; }
  const Kernels<T>& kernels() const { return kernels_; }
  const Product<T>& product() const { return product_; }
  const LayerWeights<T>& layer(int layer, int direction) const { return weights_.layers[index(layer, direction)]; }
  // After prepare_backward.
  const LayerTransposed& transposed(int layer, int direction) const {
    return transposed_.load(std::memory_order_acquire)->layers[index(layer, direction)];
  }

  // Elements of a row of what a step keeps, and where a record begins in it.
  ptrdiff_t record_width() const { return mask_.back(); }
  ptrdiff_t record(int i) const { return record_[size_t(i)]; }
  ptrdiff_t state_record(int i) const { return record(cell_.record_of_state(i)); }
  // The same of a row of gradients: to the accumulators, to the parameters that are vectors, and to records. The first
  // two are added up over all rows.
  ptrdiff_t gate_width() const { return d_record_.back(); }
  ptrdiff_t sums_width() const { return vector_.back(); }
  ptrdiff_t column(int i) const { return column_[size_t(i)]; }
  ptrdiff_t vector(int parameter) const { return vector_[size_t(parameter)]; }
  ptrdiff_t d_record(int i) const { return d_record_[size_t(i)]; }
  ptrdiff_t run_width(const Run& run) const { return column(run.column + run.count) - column(run.column); }
  // Elements of a row of state i.
  ptrdiff_t state(int i) const { return sizes_.of(cell_.states[i].width); }
  // Rows and columns of a parameter.
  ptrdiff_t rows(const ParamSpec& p) const { return p.blocks * sizes_.of(p.rows); }
  ptrdiff_t columns(const ParamSpec& p, ptrdiff_t input) const { return sizes_.of(p.columns, input); }

  // Of a constant, and of the mean of a mask, as many copies as any row is wide.
  const T* constant(int i) const { return constants_[size_t(i)].data(); }
  const T* mask_mean(int i) const { return mask_means_[size_t(i)].data(); }
  // Where a mask begins in a row of records, its probability of zeros and the other number.
  ptrdiff_t mask(int i) const { return mask_[size_t(i)]; }
  double mask_probability(int i) const { return probabilities_[size_t(i)]; }
  T mask_kept(int i) const {
    const double p = mask_probability(i);
    return cell_.masks[i].kept == Kept::one ? T(1) : p < 1 ? T(1 / (1 - p)) : T(0);
  }

  // Makes the transposed panels on first use (inference never does); the parameters must still be there. Two threads
  // may both make them: nobody waits, and the first one's are kept.
  void prepare_backward() const;

 private:
  using Weights = Packed<LayerWeights<T>>;
  using Transposed = Packed<LayerTransposed>;

  void lay_out();
  size_t index(int layer, int direction) const { return size_t(layer * sizes_.directions + direction); }
  void pack_forward(LayerWeights<T>& layer, Arena& arena) const;
  void pack_backward(const LayerWeights<T>& layer, LayerTransposed& transposed, Arena& arena) const;

  const CellSpec& cell_;
  Sizes sizes_;
  const Kernels<T>& kernels_;
  const Product<T>& product_;
  std::vector<ptrdiff_t> record_, mask_, column_, vector_, d_record_;
  std::vector<std::vector<T>> constants_, mask_means_;
  std::vector<T> zeros_;  // the row of parameters that are vectors and absent
  std::vector<double> probabilities_;
  Weights weights_;
  mutable std::atomic<const Transposed*> transposed_{nullptr};  // owned
};

}  // namespace pylstm
