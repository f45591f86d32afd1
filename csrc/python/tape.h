// What a training pass leaves behind.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "python/arrays.h"
#include "sequence.h"

namespace pylstm {

template <class T>
class Bound;

// One sequence batch as both passes see it. Places and strides are those of the forward pass, whatever becomes of the
// Python objects, which only keep the memory.
template <class T>
struct Batch {
  ptrdiff_t steps = 0, batch = 0;
  View<const T> x;
  SymbolInput<T> symbols;
  std::shared_ptr<const Symbols> owned_symbols;
  AlignedBuffer<T> symbol_rows;
  View<T> output;
  const T* initial[max_states] = {};
  std::shared_ptr<const Order> order;
  std::vector<py::object> owners;
};

// `Tape` in Python, whatever the dtype; backward may run on it any number of times. into: the gradients to the
// parameters that another pass returned, which this one's are added to, or None; without need_params there are none. Of
// symbols, the gradient to x is that to their distinct rows. x, output: where the numbers of the forward pass are now,
// for a caller who could not leave them in their place, or None.
class TapeBase {
 public:
  virtual ~TapeBase() = default;
  virtual py::tuple backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                             std::optional<int> threads, const py::object& into, bool need_params, const py::object& x,
                             const py::object& output) const = 0;
};

template <class T>
std::unique_ptr<TapeBase> make_tape(std::shared_ptr<const Bound<T>> bound, Batch<T> batch, Saved<T> saved,
                                    const Dropout& dropout);

}  // namespace pylstm
