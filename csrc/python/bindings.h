// What Python sees of a network, of its streams and of a training pass, whatever the dtype.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

namespace pylstm {

namespace py = pybind11;

// The number of threads of a call: what was asked for, else what was configured. A limit put on the OpenMP runtime
// since import (threadpoolctl) holds here too.
int thread_count(std::optional<int> asked);
void configure_threads(int threads);

// One step at a time, with a state of its own that stays between steps.
class StreamBase {
 public:
  virtual ~StreamBase() = default;
  virtual bool step(const py::handle& x, const py::handle& out) = 0;
  // Between these two the state belongs to the caller. anew: whatever it is, it is about to be set.
  virtual void take(bool anew) = 0;
  virtual void give() = 0;
  virtual py::tuple states() const = 0;
  // By whom it belongs to: all of it at once, or nothing where a value does not fit.
  virtual void put(const py::tuple& values) = 0;
};

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
};

class TapeBase {
 public:
  virtual ~TapeBase() = default;
  virtual py::tuple backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                             std::optional<int> threads) const = 0;
};

// A network for a cell and dtype, its weights packed for the ISA in use. params: for every layer and direction a list
// of weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, None where there is none.
std::shared_ptr<NetworkBase> make_network(const std::string& cell, const py::dtype& dtype, ptrdiff_t input,
                                          ptrdiff_t hidden, ptrdiff_t output, int layers, bool bidirectional,
                                          const py::list& params);

// One step of Adam in place. rows: the rows of `parameter` that `gradient` holds, or None: all of them. factors: as in
// AdamStep, in its order.
using AdamFactors = std::array<double, 10>;
void adam_step(const py::array& parameter, const py::array& mean, const py::array& square, const py::array& gradient,
               const py::object& rows, bool only_rows, const AdamFactors& factors, std::optional<int> threads);

// A linear layer on (rows, in), and its gradients: (d_x or None, d_weight, d_bias or None).
py::array linear_forward(const py::array& x, const py::array& weight, const py::object& bias,
                         std::optional<int> threads);
py::tuple linear_gradients(const py::array& x, const py::array& weight, const py::array& d_y, bool need_dx,
                           bool need_bias, std::optional<int> threads);

// a @ b of (.., rows, k) and (.., k, columns), batch axes as NumPy broadcasts them. sum_of_rows: k counts the rows of a
// batch, and is summed up as in a weight gradient.
py::array matmul_product(const py::array& a, const py::array& b, bool sum_of_rows, std::optional<int> threads);

// See planted.cpp; in no release.
int planted_fault(const std::string& name);

}  // namespace pylstm
