// Drawing symbols behind bindings.h: arrays checked, GIL released.
#include "sampling.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

// Symbols that are looked at in less time than it may take to get the GIL back.
constexpr ptrdiff_t few_symbols = 4096;

template <class T>
ptrdiff_t sample_of(const py::array& logits, const py::array& drawn, double temperature, ptrdiff_t top_k, double top_p,
                    const py::object& random, int threads) {
  SampleCall<T> call;
  call.rows = axis("logits", logits, 0), call.symbols = axis("logits", logits, 1);
  checked<T>("logits", logits, {call.rows, call.symbols}, true);
  call.logits = {data<const T>(logits), call.symbols};
  if (call.symbols < 1) throw py::value_error("logits: expected a symbol or more");
  if (!(temperature >= 0)) throw py::value_error("temperature: expected 0 or more");
  if (top_k < 1 || top_k > call.symbols) throw py::value_error("top_k: expected 1 .. symbols");
  if (!(top_p >= 0 && top_p <= 1)) throw py::value_error("top_p: expected 0 .. 1");
  // A denormal number would count as zero where denormals are flushed.
  call.temperature = temperature > 0 ? std::max(temperature, std::numeric_limits<double>::min()) : 0;
  call.top_k = top_k, call.top_p = top_p;
  call.drawn = data<int64_t>(checked<int64_t>("drawn", drawn, {call.rows}, true, true));
  const bool few = call.rows * call.symbols < few_symbols;
  if (!few) call.interrupted = interrupted;
  ptrdiff_t wrong = 0;
  if (few) {
    wrong = first_without_chances(call);
  } else {
    const WithoutGil released;
    wrong = first_without_chances(call);
  }
  if (wrong < call.rows) return wrong;
  py::object chances;  // asked for when no row is wrong, so that a failed call takes none
  if (temperature > 0) {
    chances = checked<double>("rng", random(call.rows), {call.rows}, true);
    call.chances = data<const double>(py::reinterpret_borrow<py::array>(chances));
  }
  const Kernels<double>& kernels = current_isa().of<double>();
  if (few) {
    std::ignore = sample(kernels, call, 1);
  } else {
    run_without_gil([&] { return sample(kernels, call, threads); });
  }
  return -1;
}

}  // namespace

ptrdiff_t sample_symbols(const py::array& logits, const py::array& drawn, double temperature, ptrdiff_t top_k,
                         double top_p, const py::object& random, std::optional<int> threads) {
  const auto run = logits.dtype().equal(py::dtype::of<float>()) ? sample_of<float> : sample_of<double>;
  return run(logits, drawn, temperature, top_k, top_p, random, call_threads(threads));
}

}  // namespace pylstm
