// Linear layers' products behind bindings.h: arrays checked, GIL released.
#include "linear.h"

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

// A (rows, columns) array of which each row is contiguous.
template <class T>
Matrix<const T> matrix(const char* name, const py::array& array, ptrdiff_t rows, ptrdiff_t columns) {
  checked<T>(name, array, {rows, columns}, false);
  const auto element = static_cast<ptrdiff_t>(sizeof(T));
  if (array.size() && ((columns > 1 && array.strides(1) != element) || (rows > 1 && array.strides(0) % element)))
    throw py::value_error(std::string(name) + ": expected contiguous rows");
  return {data<const T>(array), array.strides(0) / element};
}

template <class T>
py::array linear_of(const py::array& x, const py::array& weight, const py::object& bias, int threads) {
  LinearCall<T> call;
  call.rows = axis("x", x, 0), call.in = axis("x", x, 1), call.out = axis("weight", weight, 0);
  call.x = matrix<T>("x", x, call.rows, call.in);
  call.weight = matrix<T>("weight", weight, call.out, call.in);
  if (!bias.is_none()) call.bias = data<const T>(checked<T>("bias", bias, {call.out}, true));
  const auto y = empty<T>({call.rows, call.out});
  call.y = {data<T>(y), call.out};
  call.interrupted = interrupted;
  const Kernels<T>& kernels = current_isa().of<T>();
  run_without_gil([&] { return linear(kernels, call, threads); });
  return y;
}

template <class T>
py::tuple linear_backward_of(const py::array& x, const py::array& weight, const py::array& d_y, bool need_dx,
                             bool need_bias, int threads) {
  LinearBackwardCall<T> call;
  call.rows = axis("x", x, 0), call.in = axis("x", x, 1), call.out = axis("weight", weight, 0);
  call.x = matrix<T>("x", x, call.rows, call.in);
  call.weight = matrix<T>("weight", weight, call.out, call.in);
  call.d_y = matrix<T>("d_y", d_y, call.rows, call.out);
  py::object d_x = py::none(), d_bias = py::none();
  if (need_dx) {
    const auto array = empty<T>({call.rows, call.in});
    call.d_x = {data<T>(array), call.in};
    d_x = array;
  }
  const auto d_weight = empty<T>({call.out, call.in});
  call.d_weight = data<T>(d_weight);
  if (need_bias) {
    const auto array = empty<T>({call.out});
    call.d_bias = data<T>(array);
    d_bias = array;
  }
  call.interrupted = interrupted;
  const Kernels<T>& kernels = current_isa().of<T>();
  run_without_gil([&] { return linear_backward(kernels, call, threads); });
  return py::make_tuple(d_x, d_weight, d_bias);
}

}  // namespace

py::array linear_forward(const py::array& x, const py::array& weight, const py::object& bias,
                         std::optional<int> threads) {
  const auto run = x.dtype().equal(py::dtype::of<float>()) ? linear_of<float> : linear_of<double>;
  return run(x, weight, bias, thread_count(threads));
}

py::tuple linear_gradients(const py::array& x, const py::array& weight, const py::array& d_y, bool need_dx,
                           bool need_bias, std::optional<int> threads) {
  const auto run = x.dtype().equal(py::dtype::of<float>()) ? linear_backward_of<float> : linear_backward_of<double>;
  return run(x, weight, d_y, need_dx, need_bias, thread_count(threads));
}

}  // namespace pylstm
