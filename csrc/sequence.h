// The recurrence over time, layers and directions, forward and backward. Reads the CellSpec; names no cell.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "interrupt.h"
#include "memory.h"
#include "network.h"
#include "rows.h"
#include "symbols.h"
#include "view.h"

namespace pylstm {

// Inverted dropout between layers, from a counter: see dropout.h.
struct Dropout {
  double p = 0;
  uint64_t seed = 0;
  uint32_t call = 0;
};

// What a forward pass keeps for the backward pass (in inference: what one step keeps for the next).
template <class T>
struct Saved {
  std::vector<AlignedBuffer<T>>
      records;  // [layer x direction]: [row][record][hidden], row = order.start(step) + position
  std::vector<AlignedBuffer<T>> outputs;  // [layer but the last]: (T, N, directions * output)
  std::vector<AlignedBuffer<T>> dropped;  // the same after dropout; empty without
};

template <class T>
struct ForwardCall {
  const Network<T>& network;
  const Order& order;
  ptrdiff_t steps = 0;  // T of x and output; order.steps() is the longest sequence
  View<const T> x;
  SymbolInput<T> symbols = {};  // in place of x
  View<T> output;
  const T* initial[max_states];  // (layers * directions, N, size) in C order, or null: zeros
  T* final[max_states];
  bool training = false;
  Dropout dropout;
  Interrupted interrupted = nullptr;
};

// A forward pass, laid out once and run any number of times: a stream keeps one and only moves the pointers of its
// call, which must outlive it. run() fills output and final and allocates nothing; false: interrupted, and what they
// hold means nothing.
template <class T>
class ForwardPass {
 public:
  ForwardPass(const ForwardCall<T>& call, int threads);
  ~ForwardPass();

  [[nodiscard]] bool run();
  double cycles() const;  // the cost model's estimate
  Saved<T> take_saved();  // what backward needs; nothing of use unless call.training

 private:
  struct Layout;
  void lay_out(int threads);

  const ForwardCall<T>& call_;
  Saved<T> saved_;
  std::unique_ptr<Layout> layout_;
};

template <class T>
struct BackwardCall {
  const Network<T>& network;
  const Order& order;
  ptrdiff_t steps = 0;
  View<const T> x;
  SymbolInput<T> symbols = {};  // in place of x, with the rows that the forward pass has kept
  View<const T> output;
  const T* initial[max_states];
  const Saved<T>& saved;
  Dropout dropout;
  View<const T> d_output = {};   // data null: zeros
  const T* d_final[max_states];  // null: zeros
  View<T> d_x = {};              // data null: not wanted
  T* d_rows = nullptr;           // the same in place of d_x where x is symbols: (distinct, input)
  T* d_initial[max_states];
  std::vector<Params<T>> d_params = {};  // [layer x direction]
  bool need_params = true;               // whether d_params are wanted: their pointers are null else
  bool accumulate = false;               // d_params hold sums, which are added to
  Interrupted interrupted = nullptr;
};

// Fills d_x, d_initial and, if wanted, the arrays of d_params (with accumulate: adds to these); false: interrupted.
template <class T>
[[nodiscard]] bool backward(const BackwardCall<T>& call, int threads);

}  // namespace pylstm
