// One step at a time, with a state of its own that stays between steps.
#pragma once

#include <memory>

#include "python/arrays.h"

namespace pylstm {

template <class T>
class Bound;

// `Stream` in Python, whatever the dtype.
class StreamBase {
 public:
  virtual ~StreamBase() = default;
  // False where x or out is not what the loop can take as it stands: Python converts and calls again.
  virtual bool step(const py::handle& x, const py::handle& out) = 0;
  // The same for x as symbols of a multiplied table, an integer for one sequence: a new array, or None.
  virtual py::object step_symbols(const py::handle& table, const py::handle& x) = 0;
  // Between these two the state belongs to the caller. anew: whatever it is, it is about to be set.
  virtual void take(bool anew) = 0;
  virtual void give() = 0;
  // The arrays themselves: (layers, N, size), updated in place by every step.
  virtual py::tuple states() const = 0;
  // By whom it belongs to: all of it at once, or nothing where a value does not fit.
  virtual void put(const py::tuple& values) = 0;
};

template <class T>
std::unique_ptr<StreamBase> make_stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads);

}  // namespace pylstm
