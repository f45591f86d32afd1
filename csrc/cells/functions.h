// Which functions the forward stages of a cell call: how many a step of a unit takes, and which of its rows are the
// value of one. Found by running the arithmetic on values that remember it.
#pragma once

#include "list.h"

namespace pylstm::cells {
namespace {

struct Functions {
  int activations = 0;  // calls of exp, tanh and sigmoid, and of those that are chosen
  List<Name> rows, of;  // a row, and beside it the function that it is the value of
};

// In place of a number.
struct Remembering {
  Functions* calls = nullptr;  // null in a constant
  Name function;               // that gave the value, if one did

  Remembering() = default;
  Remembering(double) {}
  Remembering(Functions* calls_, Name function_ = {}) : calls(calls_), function(function_) {}
  Remembering operator-() const { return calls; }

  static Remembering both(const Remembering& a, const Remembering& b) { return a.calls ? a.calls : b.calls; }
  static Remembering called(const Remembering& x, const char* function) {
    if (x.calls) ++x.calls->activations;
    return {x.calls, function};
  }

  friend Remembering operator+(const Remembering& a, const Remembering& b) { return both(a, b); }
  friend Remembering operator-(const Remembering& a, const Remembering& b) { return both(a, b); }
  friend Remembering operator*(const Remembering& a, const Remembering& b) { return both(a, b); }
  friend Remembering operator/(const Remembering& a, const Remembering& b) { return both(a, b); }
  friend bool operator>(const Remembering&, const Remembering&) { return true; }
  friend bool operator<(const Remembering&, const Remembering&) { return true; }

  friend Remembering fma(const Remembering& a, const Remembering& b, const Remembering& c) { return a * b + c; }
  friend Remembering sqrt(const Remembering& x) { return x.calls; }
  friend Remembering rsqrt(const Remembering& x) { return x.calls; }
  friend Remembering abs(const Remembering& x) { return x.calls; }
  friend Remembering exp(const Remembering& x) { return called(x, "exp"); }
  friend Remembering tanh(const Remembering& x) { return called(x, "tanh"); }
  friend Remembering sigmoid(const Remembering& x) { return called(x, "sigmoid"); }
  // One that is chosen when a network is made.
  friend Remembering activate(const Remembering&, const Remembering&, const Remembering&, const Remembering& z) {
    return called(z, "");
  }
  friend Remembering relu(const Remembering& x) { return {x.calls, "relu"}; }  // as cheap as an addition
};

struct RememberingIo {
  Functions& found;

  template <class Key>
  Remembering operator[](Key) {
    return &found;
  }
  template <Where WHERE, Name NAME>
  void put(Key<WHERE, NAME>, const Remembering& value) {
    if (!value.function.empty()) found.rows.add(NAME), found.of.add(value.function);
  }
};

struct RememberingRow : RememberingIo {
  template <class F>
  Remembering sum(const F& of_unit) {
    RememberingIo unit{found};
    of_unit(unit);
    return &found;
  }
  template <class F>
  Remembering mean(const F& of_unit) {
    return sum(of_unit);
  }
  template <class F>
  Remembering max(const F& of_unit) {
    return sum(of_unit);
  }
  template <class F>
  void each(const F& of_unit) {
    RememberingIo unit{found};
    of_unit(unit);
  }
};

template <class S>
void run_remembering(Functions& found) {
  if constexpr (takes_rows<S>) {
    RememberingRow row{{found}};
    S::apply_row(row);
  } else {
    RememberingIo io{found};
    S::apply(io);
  }
}
template <class... S>
Functions functions_of(Stages<S...>) {
  Functions found;
  (run_remembering<S>(found), ...);
  return found;
}

}  // namespace
}  // namespace pylstm::cells
