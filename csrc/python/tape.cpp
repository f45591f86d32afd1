#include "python/tape.h"

#include <utility>

#include "python/bindings.h"
#include "python/bound.h"
#include "python/gil.h"
#include "python/holder.h"

namespace pylstm {
namespace {

template <class T>
class Tape : public TapeBase {
 public:
  Tape(std::shared_ptr<const Bound<T>> bound, Batch<T> batch, Saved<T> saved, const Dropout& dropout)
      : bound_(std::move(bound)), batch_(std::move(batch)), saved_(std::move(saved)), dropout_(dropout) {}

  py::tuple backward(const py::object& d_output, const py::tuple& d_states, bool need_dx, std::optional<int> threads,
                     const py::object& into, bool need_params, const py::object& x,
                     const py::object& output) const override;

 private:
  std::shared_ptr<const Bound<T>> bound_;
  Batch<T> batch_;
  Saved<T> saved_;
  Dropout dropout_;
};

template <class T>
py::tuple Tape<T>::backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                            std::optional<int> asked, const py::object& into, bool need_params, const py::object& x,
                            const py::object& output) const {
  const Sizes& sizes = bound_->sizes();
  const CellSpec& cell = bound_->cell();
  BackwardCall<T> call{.network = bound_->network(),
                       .order = *batch_.order,
                       .steps = batch_.steps,
                       .x = batch_.x,
                       .symbols = batch_.symbols,
                       .output = {batch_.output.data, batch_.output.time, batch_.output.sequence},
                       .saved = saved_,
                       .dropout = dropout_,
                       .interrupted = interrupted};
  if (!x.is_none()) {
    if (batch_.symbols.symbols) throw py::value_error("x: was a table and symbols, whose rows are kept");
    call.x = view<const T>("x", checked<T>("x", x, {batch_.steps, batch_.batch, sizes.input}, false));
  }
  if (!output.is_none())
    call.output =
        view<const T>("output", checked<T>("output", output, {batch_.steps, batch_.batch, sizes.width()}, false));
  if (!d_output.is_none())
    call.d_output =
        view<const T>("d_output", checked<T>("d_output", d_output, {batch_.steps, batch_.batch, sizes.width()}, false));
  const auto finals = bound_->take_states("d_state", d_states, batch_.batch, call.d_final);
  py::tuple d_initial(static_cast<size_t>(cell.states.count));
  for (int i = 0; i < cell.states.count; ++i) {
    call.initial[i] = batch_.initial[i];
    const auto state = empty<T>(bound_->state_shape(i, batch_.batch));
    call.d_initial[i] = data<T>(state);
    d_initial[size_t(i)] = state;
  }
  py::object dx = py::none();
  if (need_dx && batch_.symbols.symbols) {
    const auto array = empty<T>({batch_.symbols.symbols->distinct(), sizes.input});
    call.d_rows = data<T>(array);
    dx = array;
  } else if (need_dx) {
    const auto array = empty<T>({batch_.steps, batch_.batch, sizes.input});
    call.d_x = view<T>("dx", array);
    dx = array;
  }
  py::list d_params;
  call.need_params = need_params;
  call.accumulate = !into.is_none();
  const py::list sums = call.accumulate ? py::list(into) : py::list();
  if (call.accumulate && py::ssize_t(sums.size()) != py::ssize_t(sizes.layers) * sizes.directions)
    throw py::value_error("into: wrong number of layers");
  for (int i = 0; i < sizes.layers * sizes.directions; ++i) {
    py::list arrays;
    const py::list own = call.accumulate ? py::list(py::object(sums[size_t(i)])) : py::list();
    if (call.accumulate && own.size() != size_t(cell.parameters.count))
      throw py::value_error("into: wrong number of arrays");
    Params<T> pointers;
    for (int p = 0; p < cell.parameters.count; ++p) {
      if (!need_params || !bound_->has_param(size_t(i), p)) {
        arrays.append(py::none());
        continue;
      }
      const Shape shape = Bound<T>::param_shape(cell.parameters[p], sizes, i / sizes.directions);
      py::array array;
      if (call.accumulate)
        array = checked<T>("into", py::object(own[size_t(p)]), shape, true, true);
      else
        array = empty<T>(shape);
      pointers.data[p] = data<T>(array);
      arrays.append(array);
    }
    call.d_params.push_back(pointers);
    d_params.append(arrays);
  }
  const int threads = call_threads(asked);
  run_without_gil([&] { return pylstm::backward(call, threads); });
  return py::make_tuple(dx, d_initial, d_params);
}

}  // namespace

template <class T>
std::unique_ptr<TapeBase> make_tape(std::shared_ptr<const Bound<T>> bound, Batch<T> batch, Saved<T> saved,
                                    const Dropout& dropout) {
  return std::make_unique<Tape<T>>(std::move(bound), std::move(batch), std::move(saved), dropout);
}
template std::unique_ptr<TapeBase> make_tape(std::shared_ptr<const Bound<float>>, Batch<float>, Saved<float>,
                                             const Dropout&);
template std::unique_ptr<TapeBase> make_tape(std::shared_ptr<const Bound<double>>, Batch<double>, Saved<double>,
                                             const Dropout&);

void add_tape(py::module_& m) {
  py::class_<TapeBase> tape(m, "Tape");
  tape.def("backward", &TapeBase::backward, py::arg("d_output"), py::arg("d_states"), py::arg("need_dx"),
           py::arg("num_threads"), py::arg("into") = py::none(), py::arg("need_params") = true,
           py::arg("x") = py::none(), py::arg("output") = py::none());
  deleted_by_holder(tape);
}

}  // namespace pylstm
