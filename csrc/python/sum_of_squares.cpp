// A sum of squares behind bindings.h: the array checked, GIL released.
#include "sum_of_squares.h"

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

// Numbers that are added up in less time than it may take to get the GIL back.
constexpr ptrdiff_t few_numbers = 1 << 14;

template <class T>
double squares_of(const py::array& x, int threads) {
  const T* const numbers = data<const T>(checked<T>("x", x, Shape(x.shape(), x.shape() + x.ndim()), true));
  const Kernels<T>& kernels = current_isa().of<T>();
  if (x.size() <= few_numbers) return sum_of_squares(kernels, numbers, x.size(), 1);
  const WithoutGil released;
  return sum_of_squares(kernels, numbers, x.size(), threads);
}

}  // namespace

double sum_of_squares_of(const py::array& x, std::optional<int> threads) {
  const auto squares = x.dtype().equal(py::dtype::of<float>()) ? squares_of<float> : squares_of<double>;
  return squares(x, call_threads(threads));
}

}  // namespace pylstm
