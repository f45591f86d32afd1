// What module.cpp puts together, a file each.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <string>

namespace pylstm {

namespace py = pybind11;

// The number of threads of a call: what was asked for, else what was configured. A limit put on the OpenMP runtime
// since import (threadpoolctl) holds here too.
int thread_count(std::optional<int> asked);
// The same, but for what was configured one where others have the cores (threads_now).
int call_threads(std::optional<int> asked);
void configure_threads(int threads);

// The classes that Python sees, and the cells, each in a file of its own.
void add_cells(py::module_& m);
void add_network(py::module_& m);
void add_packed_linear(py::module_& m);
void add_stream(py::module_& m);
void add_symbols(py::module_& m);
void add_tape(py::module_& m);

// One step of Adam, from `value`, which may be the parameter itself. rows: the rows of `parameter` that `gradient`
// holds, or None: all of them. live: (rows of the table,) uint8, which of them have a state that may be other than
// zero, or None. factors: as in AdamStep, in its order.
using AdamFactors = std::array<double, 10>;
void adam_step(const py::array& parameter, const py::array& value, const py::array& mean, const py::array& square,
               const py::array& gradient, const py::object& rows, const py::object& live, bool only_rows,
               const AdamFactors& factors, std::optional<int> threads);

// Of all numbers of an array in C order, float32 or float64. As in csrc/sum_of_squares.h.
double sum_of_squares_of(const py::array& x, std::optional<int> threads);

// A linear layer on (rows, in), and its gradients: (d_x or None, d_weight, d_bias or None).
py::array linear_forward(const py::array& x, const py::array& weight, const py::object& bias,
                         std::optional<int> threads);
py::tuple linear_gradients(const py::array& x, const py::array& weight, const py::array& d_y, bool need_dx,
                           bool need_bias, std::optional<int> threads);

// a @ b of (.., rows, k) and (.., k, columns), batch axes as NumPy broadcasts them. sum_of_rows: k counts the rows of a
// batch, and is summed up as in a weight gradient.
py::array matmul_product(const py::array& a, const py::array& b, bool sum_of_rows, std::optional<int> threads);

// Of hidden's rows at `places`: (losses, (d_hidden, d_weight, d_bias or None), classes of their largest logits), the
// gradients those of the losses' sum times `scale`; None for what is not needed. As in csrc/linear_cross_entropy.h.
py::tuple linear_cross_entropy_of(const py::array& hidden, const py::array& weight, const py::object& bias,
                                  const py::array& places, const py::array& labels, const py::array& label_weight,
                                  const py::object& share, double scale, bool need_gradients, bool need_dx,
                                  bool need_largest, std::optional<int> threads);

// The loss of every sequence of logits (N, T, classes), and the gradient of their sum, each times its scale, or None.
// labels: those of all sequences, one behind the other. The rest as in csrc/ctc.h.
py::tuple ctc_of(const py::array& logits, const py::array& lengths, const py::array& labels,
                 const py::array& target_lengths, int64_t blank, const py::array& scale, bool zero_infinity,
                 bool need_gradient, std::optional<int> threads);

// A symbol for each row of logits, into `drawn`: -1, or the first row that gives no probabilities, with nothing drawn.
// random: of a number of rows makes as many float64 in [0, 1). The rest as in csrc/sampling.h.
ptrdiff_t sample_symbols(const py::array& logits, const py::array& drawn, double temperature, ptrdiff_t top_k,
                         double top_p, const py::object& random, std::optional<int> threads);

// A handler of XLA's that calls `called(text, inputs, outputs)`: a string attribute, and arrays, of which it fills the
// last. There is one such function in a process.
py::capsule xla_handler(const py::function& called);

// See planted.cpp; in no release.
int planted_fault(const std::string& name);

}  // namespace pylstm
