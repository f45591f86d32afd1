// A network and the arrays it is made of. The Python layers have normalised every array before it comes here; what is
// checked again is what a wrong call could otherwise turn into a wild pointer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "network.h"
#include "python/arrays.h"
#include "python/bound_symbols.h"
#include "python/stream.h"
#include "python/tape.h"

namespace pylstm {

// `Network` in Python, whatever the dtype.
class NetworkBase {
 public:
  virtual ~NetworkBase() = default;
  virtual py::tuple infer(const py::object& x, const py::tuple& states, const py::object& lengths,
                          const py::object& out, std::optional<int> threads) const = 0;
  virtual py::tuple train(const py::object& x, const py::tuple& states, const py::object& lengths,
                          const py::object& out, std::optional<std::tuple<double, uint64_t, uint32_t>> dropout,
                          std::optional<int> threads) const = 0;
  // What the cost model would do for a full batch: ((rows, units, directions), rows of an input chunk, cycles).
  virtual py::tuple plan(ptrdiff_t steps, ptrdiff_t batch, bool backward, int threads) const = 0;
  virtual std::unique_ptr<StreamBase> stream(ptrdiff_t batch, std::optional<int> threads) const = 0;
  // bias + x . W of the first layer for all rows of a table, and the bytes that takes.
  virtual std::unique_ptr<BoundTableBase> multiplied(const py::object& table, std::optional<int> threads) const = 0;
  virtual ptrdiff_t multiplied_bytes(ptrdiff_t rows) const = 0;
};

template <class T>
class Bound : public NetworkBase, public std::enable_shared_from_this<Bound<T>> {
 public:
  Bound(const CellSpec& cell, const Sizes& sizes, const py::list& params, const std::vector<double>& constants);

  py::tuple infer(const py::object& x, const py::tuple& states, const py::object& lengths, const py::object& out,
                  std::optional<int> threads) const override;
  py::tuple train(const py::object& x, const py::tuple& states, const py::object& lengths, const py::object& out,
                  std::optional<std::tuple<double, uint64_t, uint32_t>> key, std::optional<int> threads) const override;
  py::tuple plan(ptrdiff_t steps, ptrdiff_t batch, bool backward, int threads) const override;
  std::unique_ptr<StreamBase> stream(ptrdiff_t batch, std::optional<int> threads) const override;
  std::unique_ptr<BoundTableBase> multiplied(const py::object& table, std::optional<int> threads) const override;
  ptrdiff_t multiplied_bytes(ptrdiff_t rows) const override { return InputTable<T>::bytes(network_, rows); }

  // The initial or final states of a call, checked, and where their numbers are; None is a null pointer.
  std::vector<py::object> take_states(const char* name, const py::tuple& states, ptrdiff_t batch,
                                      const T* (&pointers)[max_states]) const;
  Shape state_shape(int i, ptrdiff_t batch) const {
    return {ptrdiff_t(sizes().layers) * sizes().directions, batch, network_.state(i)};
  }
  static Shape param_shape(const ParamSpec& p, const Sizes& sizes, int layer);

  const Network<T>& network() const { return network_; }
  const CellSpec& cell() const { return network_.cell(); }
  const Sizes& sizes() const { return network_.sizes(); }
  bool has_param(size_t layer, int p) const { return !arrays_[layer][size_t(p)].is_none(); }

 private:
  // x of a call: an array (T, N, I), or a table, perhaps multiplied, and symbols.
  void take_x(const py::object& x, Batch<T>& batch) const;
  void take_symbols(const py::tuple& x, bool training, Batch<T>& batch) const;
  py::array take_table(const py::object& table, ptrdiff_t count) const;

  using Arrays = std::vector<std::vector<py::object>>;

  static Arrays take(const CellSpec& cell, const Sizes& sizes, const py::list& params);
  Network<T> make(const CellSpec& cell, const Sizes& sizes, const std::vector<double>& constants) const;
  std::pair<py::tuple, std::unique_ptr<TapeBase>> run(const py::object& x_object, const py::tuple& states,
                                                      const py::object& lengths, const py::object& out, bool training,
                                                      const Dropout& dropout, std::optional<int> asked) const;

  Arrays arrays_;
  Network<T> network_;
};

}  // namespace pylstm
