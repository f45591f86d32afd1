// The optimizer's step behind bindings.h: arrays checked, GIL released.
#include "adam.h"

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

template <class T>
void step_of(const py::array& parameter, const py::array& value, const py::array& mean, const py::array& square,
             const py::array& gradient, const py::object& rows, const py::object& live, bool only_rows,
             const AdamFactors& factors, int threads) {
  const Shape shape(parameter.shape(), parameter.shape() + parameter.ndim());
  AdamCall<T> call;
  call.rows = shape.empty() ? 1 : shape[0];
  call.width = 1;
  for (size_t i = 1; i < shape.size(); ++i) call.width *= shape[i];
  call.parameter = data<T>(checked<T>("parameter", parameter, shape, true, true));
  call.value = data<const T>(checked<T>("value", value, shape, true));
  call.mean = data<T>(checked<T>("mean", mean, shape, true, true));
  call.square = data<T>(checked<T>("square", square, shape, true, true));
  Shape given = shape;
  if (!rows.is_none()) {
    if (shape.size() != 2) throw py::value_error("rows: only a table has them");
    if (!py::isinstance<py::array>(rows)) throw py::type_error("rows: expected an array");
    const py::array touched = checked<int64_t>("rows", rows, {py::reinterpret_borrow<py::array>(rows).size()}, true);
    call.touched = data<const int64_t>(touched), call.touched_count = touched.size();
    call.only_touched = only_rows;
    for (ptrdiff_t i = 0; i < call.touched_count; ++i)
      if (call.touched[i] < (i ? call.touched[i - 1] + 1 : 0) || call.touched[i] >= call.rows)
        throw py::value_error("rows: expected rows of the table, ascending, each once");
    given[0] = call.touched_count;
    if (!live.is_none()) call.live = data<uint8_t>(checked<uint8_t>("live", live, {call.rows}, true, true));
  }
  call.gradient = data<const T>(checked<T>("gradient", gradient, given, true));
  AdamStep<T> step;
  T* const to[] = {&step.scale, &step.limit, &step.shrink, &step.decay, &step.beta1,
                   &step.rest1, &step.beta2, &step.root2,  &step.eps,   &step.rate};
  for (size_t i = 0; i < factors.size(); ++i) *to[i] = T(factors[i]);
  const Kernels<T>& kernels = current_isa().of<T>();
  const WithoutGil released;
  adam(kernels, call, step, threads);
}

}  // namespace

void adam_step(const py::array& parameter, const py::array& value, const py::array& mean, const py::array& square,
               const py::array& gradient, const py::object& rows, const py::object& live, bool only_rows,
               const AdamFactors& factors, std::optional<int> threads) {
  const auto step = parameter.dtype().equal(py::dtype::of<float>()) ? step_of<float> : step_of<double>;
  step(parameter, value, mean, square, gradient, rows, live, only_rows, factors, call_threads(threads));
}

}  // namespace pylstm
