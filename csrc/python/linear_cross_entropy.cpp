// The fused head of a classifier behind bindings.h: arrays checked, GIL released.
#include "linear_cross_entropy.h"

#include <algorithm>

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

template <class T>
py::tuple run(const py::array& hidden, const py::array& weight, const py::object& bias, const py::array& places,
              const py::array& labels, const py::array& label_weight, const py::object& share, double scale,
              bool need_gradients, bool need_dx, bool need_largest, int threads) {
  LinearCrossEntropyCall<T> call;
  const ptrdiff_t all = axis("hidden", hidden, 0);
  call.in = axis("hidden", hidden, 1), call.out = axis("weight", weight, 0);
  if (call.out < 1) throw py::value_error("weight: expected at least one row");
  call.rows = places.size();
  call.hidden = {data<const T>(checked<T>("hidden", hidden, {all, call.in}, true)), call.in};
  call.weight = {data<const T>(checked<T>("weight", weight, {call.out, call.in}, true)), call.in};
  if (!bias.is_none()) call.bias = data<const T>(checked<T>("bias", bias, {call.out}, true));
  call.places = data<const int64_t>(checked<int64_t>("places", places, {call.rows}, true));
  call.labels = data<const int64_t>(checked<int64_t>("labels", labels, {call.rows}, true));
  call.label_weight = data<const double>(checked<double>("label_weight", label_weight, {call.rows}, true));
  if (!share.is_none()) call.share = data<const T>(checked<T>("share", share, {call.out}, true));
  call.scale = scale;
  call.interrupted = interrupted;
  for (ptrdiff_t r = 0; r < call.rows; ++r) {
    if (call.places[r] < (r ? call.places[r - 1] + 1 : 0) || call.places[r] >= all)
      throw py::value_error("places: expected rows of hidden, ascending, each once");
    if (call.labels[r] < 0 || call.labels[r] >= call.out) throw py::value_error("labels: expected rows of weight");
  }
  const py::array_t<double> loss(call.rows);
  call.loss = data<double>(loss);
  py::object largest = py::none(), gradients = py::none();
  if (need_largest) {
    const py::array_t<int64_t> array(call.rows);
    call.largest = data<int64_t>(array);
    largest = array;
  }
  if (need_gradients) {
    const auto d_weight = empty<T>({call.out, call.in});
    call.d_weight = data<T>(d_weight);
    py::object d_hidden = py::none(), d_bias = py::none();
    if (need_dx) {
      const auto array = empty<T>({all, call.in});
      call.d_hidden = {data<T>(array), call.in};
      if (call.rows < all) std::fill_n(call.d_hidden.data, array.size(), T(0));
      d_hidden = array;
    }
    if (call.bias) {
      const auto array = empty<T>({call.out});
      call.d_bias = data<T>(array);
      d_bias = array;
    }
    gradients = py::make_tuple(d_hidden, d_weight, d_bias);
  }
  const Kernels<T>& kernels = current_isa().of<T>();
  run_without_gil([&] { return linear_cross_entropy(kernels, call, threads); });
  return py::make_tuple(loss, gradients, largest);
}

}  // namespace

py::tuple linear_cross_entropy_of(const py::array& hidden, const py::array& weight, const py::object& bias,
                                  const py::array& places, const py::array& labels, const py::array& label_weight,
                                  const py::object& share, double scale, bool need_gradients, bool need_dx,
                                  bool need_largest, std::optional<int> threads) {
  const auto f = hidden.dtype().equal(py::dtype::of<float>()) ? run<float> : run<double>;
  return f(hidden, weight, bias, places, labels, label_weight, share, scale, need_gradients, need_dx, need_largest,
           call_threads(threads));
}

}  // namespace pylstm
