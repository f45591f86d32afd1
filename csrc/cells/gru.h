// Gated recurrent unit. Gate order r, z, n, as torch.nn.GRU.
//   reset after the product (cuDNN, torch, Keras' default):  n = tanh(W_n x + b_in + r * (R_n h + b_hn))
//   reset before it (Cho et al. 2014, Keras' reset_after=False, ONNX linear_before_reset=0):
//                                                            n = tanh(W_n x + b_in + R_n (r * h) + b_hn)
//   both:                                                    h' = (1 - z) * n + z * h
#pragma once

#include "describe.h"

namespace pylstm::cells {
namespace {

struct GruAfter {
  static constexpr Name name = "gru_after";
  static constexpr List<Name> gates = {"r", "z", "n"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"r"}, {"z"}, {"n"}, {"nh"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    // The halves of the candidate stay apart: nh = R_n h + b_hn.
    static constexpr List<ColumnSpec> columns = {both("r"), both("z"), of_x("n"), of_operand("nh", "n")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto r = sigmoid(io[sum<"r">]), z = sigmoid(io[sum<"z">]), nh = io[sum<"nh">];
      const auto n = tanh(fma(r, nh, io[sum<"n">]));
      io.put(state<"h">, fma(z, io[previous<"h">] - n, n));
      io.put(record<"r">, r), io.put(record<"z">, z), io.put(record<"n">, n), io.put(record<"nh">, nh);
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto r = io[record<"r">], z = io[record<"z">], n = io[record<"n">];
      const auto d_n = fma(-d_h, z, d_h) * tanh_slope(n);
      io.put(d_previous<"h">, d_h * z);
      io.put(d_column<"r">, d_n * io[record<"nh">] * sigmoid_slope(r));
      io.put(d_column<"z">, d_h * (io[previous<"h">] - n) * sigmoid_slope(z));
      io.put(d_column<"n">, d_n);
      io.put(d_column<"nh">, d_n * r);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

struct GruBefore {
  static constexpr Name name = "gru_before";
  static constexpr List<Name> gates = {"r", "z", "n"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"r"}, {"z"}, {"n"}, {"rh"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};

  struct Gates {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("r"), both("z")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto r = sigmoid(io[sum<"r">]);
      io.put(record<"z">, sigmoid(io[sum<"z">]));
      io.put(record<"rh">, r * io[previous<"h">]);
      io.put(record<"r">, r);
    }
  };
  struct Candidate {
    static constexpr Product product = {"weight_hh", record<"rh">};
    static constexpr List<ColumnSpec> columns = {both("n")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto n = tanh(io[sum<"n">]);
      io.put(state<"h">, fma(io[record<"z">], io[previous<"h">] - n, n));
      io.put(record<"n">, n);
    }
  };
  struct CandidateBack {
    using through = Gates;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto z = io[record<"z">], n = io[record<"n">];
      io.put(d_previous<"h">, d_h * z);
      io.put(d_column<"z">, d_h * (io[previous<"h">] - n) * sigmoid_slope(z));
      io.put(d_column<"n">, fma(-d_h, z, d_h) * tanh_slope(n));
    }
  };
  struct ResetBack {
    using through = Candidate;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_rh = io[product], r = io[record<"r">];
      io.put(d_previous<"h">, fma(d_rh, r, io[d_previous<"h">]));
      io.put(d_column<"r">, d_rh * io[previous<"h">] * sigmoid_slope(r));
    }
  };

  using forward = Stages<Gates, Candidate>;
  using backward = Stages<CandidateBack, ResetBack>;
};

}  // namespace
}  // namespace pylstm::cells
