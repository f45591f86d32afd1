// Matrix products behind bindings.h: arrays checked, GIL released.
#include "matmul.h"

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

// The last two axes of an array of which one is contiguous, whatever the strides of axes of one element.
template <class T>
Matrix<const T> last_axes(const char* name, const py::array& array) {
  const auto element = static_cast<ptrdiff_t>(sizeof(T));
  const ptrdiff_t n = array.ndim();
  const ptrdiff_t rows = array.shape(n - 2), columns = array.shape(n - 1);
  Matrix<const T> matrix{data<const T>(array), array.strides(n - 2) / element, array.strides(n - 1) / element};
  if (columns <= 1 || array.size() == 0)
    matrix.column = 1;
  else if (rows <= 1 && matrix.column != 1)
    matrix.row = 1;
  if (matrix.row != 1 && matrix.column != 1)
    throw py::value_error(std::string(name) + ": expected contiguous rows or columns");
  return matrix;
}

// An array of T of at least two axes whose strides are whole elements.
template <class T>
void check(const char* name, const py::array& array) {
  if (array.ndim() < 2) throw py::value_error(std::string(name) + ": expected two axes or more");
  checked<T>(name, array, Shape(array.shape(), array.shape() + array.ndim()), false);
  for (ptrdiff_t i = 0; i < array.ndim(); ++i)
    if (array.size() && array.shape(i) > 1 && array.strides(i) % ptrdiff_t(sizeof(T)))
      throw py::value_error(std::string(name) + ": expected strides of whole elements");
}

// Where the matrices of a batch start: `shape` are its axes, a's and b's last ones match it or have one element.
template <class T>
std::vector<MatmulStart> batch_starts(const Shape& shape, const py::array& a, const py::array& b, ptrdiff_t c_size) {
  ptrdiff_t count = 1;
  for (ptrdiff_t n : shape) count = checked_product({count, n});
  const auto stride = [&](const py::array& array, size_t axis) {
    const ptrdiff_t own = array.ndim() - 2 - ptrdiff_t(shape.size()) + ptrdiff_t(axis);
    return own < 0 || array.shape(own) == 1 ? 0 : array.strides(own) / ptrdiff_t(sizeof(T));
  };
  std::vector<MatmulStart> starts(static_cast<size_t>(count));
  Shape place(shape.size(), 0);
  MatmulStart at{0, 0, 0};
  for (MatmulStart& start : starts) {
    start = at;
    at.c += c_size;
    for (size_t axis = shape.size(); axis-- > 0;) {
      at.a += stride(a, axis), at.b += stride(b, axis);
      if (++place[axis] < shape[axis]) break;
      at.a -= stride(a, axis) * shape[axis], at.b -= stride(b, axis) * shape[axis];
      place[axis] = 0;
    }
  }
  return starts;
}

template <class T>
py::array matmul_of(const py::array& a, const py::array& b, bool sum_of_rows, int threads) {
  check<T>("a", a), check<T>("b", b);
  const ptrdiff_t most = std::max(a.ndim(), b.ndim()) - 2;
  Shape shape(static_cast<size_t>(most));
  for (ptrdiff_t i = 0; i < most; ++i) {
    const ptrdiff_t in_a = a.ndim() - 2 - most + i, in_b = b.ndim() - 2 - most + i;
    const ptrdiff_t of_a = in_a < 0 ? 1 : a.shape(in_a), of_b = in_b < 0 ? 1 : b.shape(in_b);
    if (of_a != of_b && of_a != 1 && of_b != 1) throw py::value_error("b: its batch axes do not match those of a");
    shape[size_t(i)] = of_a == 1 ? of_b : of_a;
  }
  MatmulCall<T> call{a.shape(a.ndim() - 2), a.shape(a.ndim() - 1), b.shape(b.ndim() - 1)};
  if (b.shape(b.ndim() - 2) != call.k) throw py::value_error("b: expected " + std::to_string(call.k) + " rows");
  call.a = last_axes<T>("a", a), call.b = last_axes<T>("b", b);
  if (sum_of_rows) call.chain = gradient_chain;
  const auto starts = batch_starts<T>(shape, a, b, checked_product({call.rows, call.columns}, sizeof(T)));
  Shape whole(shape.size() + 2);
  std::copy(shape.begin(), shape.end(), whole.begin());
  whole[shape.size()] = call.rows, whole[shape.size() + 1] = call.columns;
  const auto c = empty<T>(whole);
  call.c = {data<T>(c), call.columns};
  const Kernels<T>& kernels = current_isa().of<T>();
  run_without_gil([&] { return matmul(kernels, call, starts, interrupted, threads); });
  return c;
}

}  // namespace

py::array matmul_product(const py::array& a, const py::array& b, bool sum_of_rows, std::optional<int> threads) {
  const auto run = a.dtype().equal(py::dtype::of<float>()) ? matmul_of<float> : matmul_of<double>;
  return run(a, b, sum_of_rows, call_threads(threads));
}

}  // namespace pylstm
