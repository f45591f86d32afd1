// Linear layers' products behind bindings.h: arrays checked, GIL released.
#include "linear.h"

#include "dispatch.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"
#include "python/holder.h"

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

// `PackedLinear` in Python, whatever the dtype.
class PackedBase {
 public:
  virtual ~PackedBase() = default;
  // A new array, or None where x is not as the core needs it.
  virtual py::object step(const py::handle& x, std::optional<int> threads) const = 0;
};

template <class T>
class Packed : public PackedBase {
 public:
  explicit Packed(const LinearCall<T>& call) : packed_(current_isa().of<T>(), call) {}

  // Not interrupted, as no step of a stream is.
  py::object step(const py::handle& x, std::optional<int> threads) const override {
    const auto* array = plain_array(x, dtype_);
    if (!array || array->nd < 1 || array->nd > 2 || array->dimensions[array->nd - 1] != packed_.in()) return py::none();
    const ptrdiff_t rows = array->nd == 2 ? array->dimensions[0] : 1;
    const T* const from = reinterpret_cast<const T*>(array->data);
    const auto held = py::reinterpret_borrow<py::object>(x);
    const py::array_t<T> y = array->nd == 2 ? empty<T>({rows, packed_.out()}) : empty<T>({packed_.out()});
    T* const to = data<T>(y);
    const int count = call_threads(threads);
    if (packed_.cycles(rows) > release_cycles) {
      const WithoutGil released;
      packed_.run(from, rows, to, count);
    } else {
      packed_.run(from, rows, to, count);
    }
    return y;
  }

 private:
  static constexpr double release_cycles = 100000;  // giving up the GIL and taking it back may cost more than less
  py::dtype dtype_ = py::dtype::of<T>();
  PackedLinear<T> packed_;
};

template <class T>
std::unique_ptr<PackedBase> pack(const py::array& weight, const py::object& bias) {
  LinearCall<T> call;
  call.out = axis("weight", weight, 0), call.in = axis("weight", weight, 1);
  call.weight = matrix<T>("weight", weight, call.out, call.in);
  if (!bias.is_none()) call.bias = data<const T>(checked<T>("bias", bias, {call.out}, true));
  return std::make_unique<Packed<T>>(call);
}

std::unique_ptr<PackedBase> make_packed(const py::array& weight, const py::object& bias) {
  return weight.dtype().equal(py::dtype::of<float>()) ? pack<float>(weight, bias) : pack<double>(weight, bias);
}

}  // namespace

void add_packed_linear(py::module_& m) {
  py::class_<PackedBase> packed(m, "PackedLinear");
  packed.def(py::init(&make_packed), py::arg("weight"), py::arg("bias"))
      .def("step", &PackedBase::step, py::arg("x"), py::arg("num_threads"));
  deleted_by_holder(packed);
}

py::array linear_forward(const py::array& x, const py::array& weight, const py::object& bias,
                         std::optional<int> threads) {
  const auto run = x.dtype().equal(py::dtype::of<float>()) ? linear_of<float> : linear_of<double>;
  return run(x, weight, bias, call_threads(threads));
}

py::tuple linear_gradients(const py::array& x, const py::array& weight, const py::array& d_y, bool need_dx,
                           bool need_bias, std::optional<int> threads) {
  const auto run = x.dtype().equal(py::dtype::of<float>()) ? linear_backward_of<float> : linear_backward_of<double>;
  return run(x, weight, d_y, need_dx, need_bias, call_threads(threads));
}

}  // namespace pylstm
