// The interpreter's lock, and the end of the interpreter.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace pylstm {

// A thread that asks for the GIL while the interpreter ends is ended where it stands (Python 3.14 lets it hang
// instead): by an unwinding that destroys Python objects without the GIL, and ends the process at the first `noexcept`.
// So it hangs here, until the process is gone.
template <class F>
auto or_hang(const F& take_gil) noexcept {
  try {
    return take_gil();
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Other Python threads run while it lives.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    or_hang([this] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* const state_;
};

// Lets Python's signal handlers run in the middle of a call, which has given up the GIL; true where one of them raised.
inline bool interrupted() {
  const PyGILState_STATE state = or_hang([] { return PyGILState_Ensure(); });
  const bool raised = PyErr_CheckSignals() != 0;
  PyGILState_Release(state);
  return raised;
}

// A call of the core that polls `interrupted`: without the GIL. False says that a signal handler raised.
template <class F>
void run_without_gil(const F& call) {
  bool done = false;
  {
    const WithoutGil released;
    done = call();
  }
  if (!done) throw pybind11::error_already_set();
}

}  // namespace pylstm
