// What one ISA offers: a table of function pointers per dtype. kernels.cpp fills it, once per ISA.
//
// This header is the border between portable code and per-ISA code: plain structs and pointers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ctc_kernels.h"
#include "matmul_kernels.h"
#include "products/product.h"
#include "softmax_kernels.h"

namespace pylstm {

// Lanes that one gate takes in a block with `left` units to go, where x and the operand feed all four columns: when few
// units are left, the gates share vectors. 100 units of an LSTM are 25 vectors of 16 lanes, not 28.
[[gnu::always_inline]] inline ptrdiff_t gate_lanes(ptrdiff_t left, ptrdiff_t lanes) {
  return 4 * left <= lanes ? lanes / 4 : 2 * left <= lanes ? lanes / 2 : lanes;
}

// Where an epilogue reads or writes: row r starts at rows[r] + offset.
template <class T>
struct Slot {
  T* const* rows = nullptr;
  ptrdiff_t offset = 0;
};

// One stage of a time step for a rectangle of rows x blocks: accumulators = init + first . panels + second . panels,
// then the epilogue of the stage on every unit. A stage of whole rows reads `in`, writes `out` and has no product.
template <class T>
struct StageArgs {
  ptrdiff_t rows = 0;
  ptrdiff_t units = 0;                       // width of the stage's output
  ptrdiff_t block_begin = 0, block_end = 0;  // blocks of units to do, see pack.h; in a stage of whole rows: rows
  bool descending = false;                   // the last block first
  const Product<T>* product = nullptr;
  Operand<T> first, second;
  Panels first_panels, second_panels;
  const T* init = nullptr;  // [block][row][columns][lanes]
  ptrdiff_t init_block = 0, init_row = 0;
  const int32_t* init_places = nullptr;  // not of the product alone: the row of init for each row; null: its own
  Slot<const T> in[max_refs];
  Slot<T> out[max_refs];
  T* sums = nullptr;  // run as a product alone: accumulators go here, [block][row][columns][lanes], no epilogue
  ptrdiff_t sums_block = 0, sums_row = 0;
};

// gradient[j][i] += sum over rows of d[row][j] * operand[row][i], for j in [j_begin, j_end), i in [0, width).
template <class T>
struct OuterArgs {
  ptrdiff_t rows = 0;
  const T* d = nullptr;  // row r at d + r * d_row
  ptrdiff_t d_row = 0;
  ptrdiff_t j_begin = 0, j_end = 0;
  const T* const* operand = nullptr;  // row pointers
  ptrdiff_t operand_offset = 0;
  ptrdiff_t width = 0;
  T* gradient = nullptr;
  ptrdiff_t gradient_row = 0;
  T* panel = nullptr;  // scratch of the worker: outer_panel_rows rows of a block
};

// sums[places[i]][j] += sum over the rows r in the i-th group of d[r][j], for j in [j_begin, j_end).
template <class T>
struct GroupSumArgs {
  ptrdiff_t groups = 0;
  const int32_t* ends = nullptr;    // where each group ends in `rows`; the next one begins there
  const int32_t* rows = nullptr;    // by group
  const int32_t* places = nullptr;  // of each group
  const T* d = nullptr;             // row r at d + r * d_row
  ptrdiff_t d_row = 0;
  ptrdiff_t j_begin = 0, j_end = 0;
  T* sums = nullptr;
  ptrdiff_t sums_row = 0;
};

// Rows of the operand that a panel of a weight gradient holds: 128 KiB in float32 on AVX-512, in L2; 256 rows were 2 %
// slower.
constexpr ptrdiff_t outer_panel_rows = 512;

// y[row][o] = sum over k of x[row][k] * weight[o][k] + bias[o], for few outputs.
template <class T>
struct FewOutputsArgs {
  ptrdiff_t rows = 0, k = 0, outputs = 0;
  const T *x = nullptr, *weight = nullptr;
  ptrdiff_t x_row = 0, weight_row = 0;
  const T* bias = nullptr;  // or null
  T* y = nullptr;
  ptrdiff_t y_row = 0;
};
// gradient[o][i] += sum over rows of d[row][o] * x[row][i], for few outputs and i in [0, width).
template <class T>
struct FewGradientArgs {
  ptrdiff_t rows = 0, outputs = 0, width = 0;
  const T *d = nullptr, *x = nullptr;
  ptrdiff_t d_row = 0, x_row = 0;
  T* gradient = nullptr;
  ptrdiff_t gradient_row = 0;
};
// Up to these outputs.
constexpr ptrdiff_t few = 2;

// The factors of one step of Adam; see adam.h.
template <class T>
struct AdamStep {
  T scale = 1, limit = 0;   // of the gradient: clipping
  T shrink = 1, decay = 0;  // weight decay of AdamW, of Adam
  T beta1 = 0, rest1 = 1, beta2 = 0, root2 = 1;
  T eps = 0, rate = 0;
};

// n numbers of a parameter, moved from `value`, which may be the parameter itself; gradient null: zeros.
template <class T>
struct AdamArgs {
  T* parameter = nullptr;
  const T* value = nullptr;
  T *mean = nullptr, *square = nullptr;
  const T* gradient = nullptr;
  ptrdiff_t n = 0;
};

template <class T>
struct Kernels {
  using Stage = void (*)(const StageArgs<T>&);
  using Map = void (*)(const T* in, T* out, ptrdiff_t n);

  ptrdiff_t lanes = 0;
  ptrdiff_t tile_rows = 0;
  // [stage][save]: with save, what only the backward pass needs is stored as well.
  Stage stage[stage_count][2] = {};
  // The product of the first operand alone, for the stages that take x.
  Stage sums[stage_count] = {};
  // By storage type; the first stores weights as they are.
  List<Product<T>> products;
  MatmulKernels<T> matmul;
  SoftmaxKernels<T> softmax;
  CtcKernels<T> ctc;
  void (*outer)(const OuterArgs<T>&) = nullptr;
  void (*few_outputs)(const FewOutputsArgs<T>&) = nullptr;
  void (*few_outputs_gradient)(const FewGradientArgs<T>&) = nullptr;
  // sum[j] += sum over rows of d[row][j], j in [j_begin, j_end)
  void (*sum_rows)(const T* d, ptrdiff_t d_row, ptrdiff_t rows, ptrdiff_t j_begin, ptrdiff_t j_end, T* sum) = nullptr;
  void (*sum_groups)(const GroupSumArgs<T>&) = nullptr;
  void (*adam)(const AdamArgs<T>&, const AdamStep<T>&) = nullptr;
  double (*sum_of_squares)(const T* x, ptrdiff_t n) = nullptr;
  // The activations by themselves, for tests and for the bench.
  Map exp = nullptr, tanh = nullptr, sigmoid = nullptr;
};

struct IsaKernels {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& of() const {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "no kernels of this type");
    if constexpr (std::is_same_v<T, float>)
      return f32;
    else
      return f64;
  }
};

}  // namespace pylstm
