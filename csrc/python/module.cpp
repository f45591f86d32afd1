// The module `_core`: what Python can call. No arithmetic. pylstm/_core.pyi is its stub.
#include <algorithm>
#include <atomic>

#include "dispatch.h"
#include "kept_plans.h"
#include "parallel.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {

namespace {
std::atomic<int> configured_threads{1};
}  // namespace

int thread_count(std::optional<int> asked) {
  static const int at_import = runtime_threads();
  const int threads = asked.value_or(configured_threads.load());
  if (threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(threads));
  const int now = runtime_threads();
  if (!has_openmp) return 1;
  return now < at_import ? std::min(threads, now) : threads;
}

int call_threads(std::optional<int> asked) {
  const int threads = thread_count(asked);
  return asked ? threads : threads_now(threads);
}

void configure_threads(int threads) {
  if (threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(threads));
  configured_threads.store(threads);
}

namespace {

template <class T>
py::array activation_of(const std::string& name, const py::array& x) {
  const Kernels<T>& kernels = current_isa().of<T>();
  const auto f = name == "exp"       ? kernels.exp
                 : name == "tanh"    ? kernels.tanh
                 : name == "sigmoid" ? kernels.sigmoid
                                     : nullptr;
  if (!f) throw py::value_error("name: expected exp, tanh or sigmoid, got '" + name + "'");
  checked<T>("x", x, {x.size()}, true);
  py::array_t<T> y(x.size());
  const T* in = data<const T>(x);
  T* out = y.mutable_data();
  const py::ssize_t n = x.size();
  const WithoutGil released;
  f(in, out, n);
  return y;
}

py::array activation(const std::string& name, const py::array& x) {
  if (x.dtype().equal(py::dtype::of<float>())) return activation_of<float>(name, x);
  return activation_of<double>(name, x);
}

// A new array, by `floats` or `doubles` of arrays.h.
template <auto floats, auto doubles>
py::array made(const Shape& shape, const py::dtype& dtype) {
  for (ptrdiff_t n : shape)
    if (n < 0) throw py::value_error("shape: expected no negative sizes");
  if (dtype.equal(py::dtype::of<float>())) return floats(shape);
  if (dtype.equal(py::dtype::of<double>())) return doubles(shape);
  throw py::type_error("dtype: expected float32 or float64");
}

void force(std::optional<std::tuple<int, int, int>> split, ptrdiff_t chunk_rows, int once) {
  Forced forced;
  forced.chunk_rows = chunk_rows, forced.once = once;
  if (split) {
    const auto [rows, units, directions] = *split;
    if (rows < 1 || units < 1 || directions < 1 || rows > 1024 || units > 1024 || directions > 2)
      throw py::value_error("split: expected (rows, units, directions) from 1");
    forced.split_set = true, forced.split = {rows, units, directions};
  }
  force_plan(forced);
}

py::tuple counts() {
  const PlanCounts plans = plan_counts();
  return py::make_tuple(plans.made, plans.kept, plans.most);
}

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const IsaKernels* isa : available_isas()) names.emplace_back(isa->name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of pylstm. Use the classes of the package; nothing here is a public interface.";
  add_cells(m);
  add_network(m);
  add_packed_linear(m);
  add_stream(m);
  add_symbols(m);
  add_tape(m);

  m.def("adam", &adam_step, py::arg("parameter"), py::arg("value"), py::arg("mean"), py::arg("square"),
        py::arg("gradient"), py::arg("rows"), py::arg("live"), py::arg("only_rows"), py::arg("factors"),
        py::arg("num_threads"));

  m.def("sum_of_squares", &sum_of_squares_of, py::arg("x"), py::arg("num_threads"));

  m.def("linear", &linear_forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("num_threads"));
  m.def("linear_backward", &linear_gradients, py::arg("x"), py::arg("weight"), py::arg("d_y"), py::arg("need_dx"),
        py::arg("need_bias"), py::arg("num_threads"));

  m.def("linear_cross_entropy", &linear_cross_entropy_of, py::arg("hidden"), py::arg("weight"), py::arg("bias"),
        py::arg("places"), py::arg("labels"), py::arg("label_weight"), py::arg("share"), py::arg("scale"),
        py::arg("need_gradients"), py::arg("need_dx"), py::arg("need_largest"), py::arg("num_threads"));

  m.def("ctc", &ctc_of, py::arg("logits"), py::arg("lengths"), py::arg("labels"), py::arg("target_lengths"),
        py::arg("blank"), py::arg("scale"), py::arg("zero_infinity"), py::arg("need_gradient"), py::arg("num_threads"));

  m.def("matmul", &matmul_product, py::arg("a"), py::arg("b"), py::arg("sum_of_rows"), py::arg("num_threads"));

  m.def("sample", &sample_symbols, py::arg("logits"), py::arg("drawn"), py::arg("temperature"), py::arg("top_k"),
        py::arg("top_p"), py::arg("random"), py::arg("num_threads"));

  m.def("xla_handler", &xla_handler, py::arg("called"));

  m.def("set_num_threads", &configure_threads);
  m.def("get_num_threads", [] { return thread_count(std::nullopt); });
  m.def("threads_now", [] { return call_threads(std::nullopt); });
  m.def("empty", &made<empty<float>, empty<double>>, py::arg("shape"), py::arg("dtype"));
  m.def("sealable", &made<sealable<float>, sealable<double>>, py::arg("shape"), py::arg("dtype"));
  m.def("release_memory", &release_memory);
  m.def("available_isas", &isa_names);
  m.def("isa", [] { return std::string(current_isa().name); });
  m.def("use_isa", &use_isa, py::arg("name"));
  m.def("force_plan", &force, py::arg("split") = py::none(), py::arg("chunk_rows") = -1, py::arg("once") = -1);
  m.def("plan_counts", &counts);
  m.def("activation", &activation, py::arg("name"), py::arg("x"));
#if defined(PYLSTM_PLANT_FAULTS)
  m.def("planted_fault", &planted_fault);
#endif
  m.attr("version") = PYLSTM_VERSION;
  m.attr("compiler") = PYLSTM_COMPILER;
  m.attr("has_openmp") = has_openmp;
  thread_count(std::nullopt);  // notes the runtime's number of threads at import
}

}  // namespace pylstm
