// Compiled once per ISA (CMakeLists.txt): PYLSTM_ISA_HEADER names the header of its vector type.
#include "kernels.h"

#include "adam_kernel.h"
#include "few_outputs.h"
#include "matmul_tile.h"
#include "softmax_kernel.h"
#include "stage.h"

namespace pylstm {
namespace {

template <class T, class... Stages>
constexpr void fill(Kernels<T>& kernels, StageList<Stages...>) {
  ((kernels.stage[int(Stages::id)][0] = run_stage<T, Stages, false>), ...);
  ((kernels.stage[int(Stages::id)][1] = run_stage<T, Stages, Stages::saved != 0>), ...);
}
template <class T, class... Stages>
constexpr void fill_products(Kernels<T>& kernels, StageList<Stages...>) {
  ((kernels.product[int(Stages::id)] = run_product<T, Stages>), ...);
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
  fill(kernels, AllStages{});
  fill_products(kernels, StageList<Lstm, GruAfter, GruBeforeGates, GruBeforeCandidate, Rnn<false>, Rnn<true>>{});
  kernels.matmul = matmul_kernels<T>();
  kernels.softmax = softmax_kernels<T>();
  kernels.outer = outer<T>;
  kernels.few_outputs = few_outputs<T>;
  kernels.few_outputs_gradient = few_outputs_gradient<T>;
  kernels.sum_rows = sum_rows<T>;
  kernels.adam = adam<T>;
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
