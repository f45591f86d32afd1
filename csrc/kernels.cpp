// Compiled once per ISA (CMakeLists.txt): PYLSTM_ISA_HEADER names the header of its vector type.
#include "kernels.h"

#include <utility>

#include "adam_kernel.h"
#include "ctc_kernel.h"
#include "few_outputs.h"
#include "matmul_tile.h"
#include "row_stage.h"
#include "softmax_kernel.h"
#include "stage.h"
#include "sum_of_squares_kernel.h"

namespace pylstm {
namespace {

template <class T, class Kernel>
constexpr void fill_stage(Kernels<T>& kernels, int id) {
  kernels.stage[id][0] = run_stage<T, Kernel, false>;
  kernels.stage[id][1] = run_stage<T, Kernel, Kernel::saved != 0>;
}
template <class T, class Kernel>
constexpr void fill_own(Kernels<T>& kernels) {
  constexpr int id = Kernel::spec.id;
  if constexpr (Kernel::spec.whole_rows)
    kernels.stage[id][0] = run_rows<T, Kernel, false>, kernels.stage[id][1] = run_rows<T, Kernel, Kernel::saved != 0>;
  else
    fill_stage<T, Kernel>(kernels, id);
}
template <class T, class Kernel>
constexpr void fill_forward(Kernels<T>& kernels) {
  fill_own<T, Kernel>(kernels);
  if constexpr (Kernel::takes_x) kernels.sums[Kernel::spec.id] = run_sums<T, Kernel>;
}
template <class T, int CELL, class... F, size_t... I, class... B, size_t... J>
constexpr void fill_cell(Kernels<T>& kernels, cells::Stages<F...>, std::index_sequence<I...>, cells::Stages<B...>,
                         std::index_sequence<J...>) {
  (fill_forward<T, ForwardKernel<CELL, int(I), F>>(kernels), ...);
  (fill_own<T, BackwardKernel<CELL, int(J), B>>(kernels), ...);
}
template <class... S>
constexpr auto indices(cells::Stages<S...>) {
  return std::index_sequence_for<S...>();
}
template <class T, class... C, size_t... I>
constexpr void fill_cells(Kernels<T>& kernels, CellList<C...>, std::index_sequence<I...>) {
  (fill_cell<T, int(I)>(kernels, typename C::forward(), indices(typename C::forward()), typename C::backward(),
                        indices(typename C::backward())),
   ...);
}

template <class T, vec<T> (*F)(vec<T>)>
void map(const T* in, T* out, ptrdiff_t n) {
  ptrdiff_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) store(out + i, F(load(in + i)));
  if (i < n) store_partial(out + i, F(load_partial(in + i, n - i)), n - i);
}

template <class T>
constexpr Kernels<T> make() {
  Kernels<T> kernels;
  kernels.lanes = lanes<T>;
  kernels.tile_rows = TILE_ROWS;
  fill_stage<T, LinearKernel>(kernels, int(StageId::linear));
  fill_stage<T, AddKernel>(kernels, int(StageId::add));
  fill_cells(kernels, Cells(), std::make_index_sequence<Cells::count>());
  kernels.products = products_of<T>(Storages());
  kernels.matmul = matmul_kernels<T>();
  kernels.softmax = softmax_kernels<T>();
  kernels.ctc = ctc_kernels<T>();
  kernels.outer = outer<T>;
  kernels.few_outputs = few_outputs<T>;
  kernels.few_outputs_gradient = few_outputs_gradient<T>;
  kernels.sum_rows = sum_rows<T>;
  kernels.sum_groups = sum_groups<T>;
  kernels.adam = adam<T>;
  kernels.sum_of_squares = sum_of_squares<T>;
  kernels.exp = map<T, exp<vec<T>>>;
  kernels.tanh = map<T, tanh<vec<T>>>;
  kernels.sigmoid = map<T, sigmoid<vec<T>>>;
  return kernels;
}

}  // namespace

#define PYLSTM_STRING_(x) #x
#define PYLSTM_STRING(x) PYLSTM_STRING_(x)
#define PYLSTM_JOIN_(a, b) a##b
#define PYLSTM_JOIN(a, b) PYLSTM_JOIN_(a, b)

// kernels_baseline, kernels_avx2, kernels_avx512 or kernels_neon: the only symbol of this object that others see.
extern constexpr IsaKernels PYLSTM_JOIN(kernels_, PYLSTM_ISA_NAME) = {PYLSTM_STRING(PYLSTM_ISA_NAME), make<float>(),
                                                                      make<double>()};

}  // namespace pylstm
