// The CTC loss behind bindings.h: arrays checked, what memory is found by copied before, GIL released.
#include "ctc.h"

#include <algorithm>
#include <vector>

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

template <class V>
std::vector<V> copy_of(const char* name, const py::array& array, ptrdiff_t size) {
  const V* const begin = data<const V>(checked<V>(name, array, {size}, true));
  return std::vector<V>(begin, begin + size);
}

// What other threads write to the arrays meanwhile, they write to other memory than is read here.
template <class T>
py::tuple run(const py::array& logits, const py::array& lengths, const py::array& labels,
              const py::array& target_lengths, int64_t blank, const py::array& scale, bool zero_infinity,
              bool need_gradient, int threads) {
  if (logits.ndim() != 3) throw py::value_error("logits: expected three axes");
  CtcCall<T> call;
  call.batch = logits.shape(0), call.steps = logits.shape(1), call.classes = logits.shape(2);
  checked<T>("logits", logits, {call.batch, call.steps, call.classes}, false);
  const View<const T> by_batch = view<const T>("logits", logits);
  call.logits = {by_batch.data, by_batch.sequence, by_batch.time};
  if (blank < 0 || blank >= call.classes) throw py::value_error("blank: expected a class");
  call.blank = blank;

  const auto own_lengths = copy_of<int64_t>("lengths", lengths, call.batch);
  const auto own_labels = copy_of<int64_t>("labels", labels, labels.size());
  const auto own_scale = copy_of<double>("scale", scale, call.batch);
  auto starts = copy_of<int64_t>("target_lengths", target_lengths, call.batch);
  for (const int64_t length : own_lengths)
    if (length < 0 || length > call.steps) throw py::value_error("lengths: expected values in 0..T");
  for (const int64_t label : own_labels)
    if (label < 0 || label >= call.classes || label == blank)
      throw py::value_error("labels: expected classes that are not the blank");
  int64_t end = 0;
  const auto count = int64_t(own_labels.size());
  for (int64_t& start : starts) {
    if (start < 0 || start > count - end) throw py::value_error("target_lengths: expected as many as there are labels");
    end += start, start = end - start;
  }
  if (end != count) throw py::value_error("target_lengths: expected as many as there are labels");
  starts.push_back(end);
  call.lengths = own_lengths.data(), call.labels = own_labels.data(), call.starts = starts.data();
  call.scale = own_scale.data(), call.zero_infinity = zero_infinity;
  call.interrupted = interrupted;

  const py::array_t<double> loss(call.batch);
  call.loss = data<double>(loss);
  py::object d_logits = py::none();
  if (need_gradient) {
    const auto array = empty<T>({call.batch, call.steps, call.classes});
    call.d_logits = data<T>(array);
    d_logits = array;
  }
  const Kernels<T>& kernels = current_isa().of<T>();
  const Kernels<double>& of_states = current_isa().of<double>();
  run_without_gil([&] { return ctc(kernels, of_states, call, threads); });
  return py::make_tuple(loss, d_logits);
}

}  // namespace

py::tuple ctc_of(const py::array& logits, const py::array& lengths, const py::array& labels,
                 const py::array& target_lengths, int64_t blank, const py::array& scale, bool zero_infinity,
                 bool need_gradient, std::optional<int> threads) {
  const auto f = logits.dtype().equal(py::dtype::of<float>()) ? run<float> : run<double>;
  return f(logits, lengths, labels, target_lengths, blank, scale, zero_infinity, need_gradient, call_threads(threads));
}

}  // namespace pylstm
