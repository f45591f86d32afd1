// The two GRUs of gru.h with functions that are chosen when a network is made, f of the gates and g of the candidate,
// and a bound on what goes into them, as the operator of ONNX has them.
#pragma once

#include "activations.h"

namespace pylstm::cells {
namespace {

constexpr List<ConstantSpec> gru_constants = {f_kind, f_alpha, f_beta, g_kind, g_alpha, g_beta, clip_bound};

struct GruAfterGeneral {
  static constexpr Name name = "gru_after_general";
  static constexpr List<Name> gates = {"r", "z", "n"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"r_sum"}, {"z_sum"}, {"n_sum"}, {"nh"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};
  static constexpr List<ConstantSpec> constants = gru_constants;

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("r"), both("z"), of_x("n"), of_operand("nh", "n")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto r_sum = io[sum<"r">], z_sum = io[sum<"z">], nh = io[sum<"nh">];
      const auto r = FunctionF::value(io, r_sum), z = FunctionF::value(io, z_sum);
      const auto n_sum = fma(r, nh, io[sum<"n">]), n = FunctionG::value(io, n_sum);
      io.put(state<"h">, fma(z, io[previous<"h">] - n, n));
      io.put(record<"r_sum">, r_sum), io.put(record<"z_sum">, z_sum);
      io.put(record<"n_sum">, n_sum), io.put(record<"nh">, nh);
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto r = FunctionF::at(io, io[record<"r_sum">]), z = FunctionF::at(io, io[record<"z_sum">]);
      const auto n = FunctionG::at(io, io[record<"n_sum">]);
      const auto d_n = fma(-d_h, z.value, d_h) * n.slope;
      io.put(d_previous<"h">, d_h * z.value);
      io.put(d_column<"r">, d_n * io[record<"nh">] * r.slope);
      io.put(d_column<"z">, d_h * (io[previous<"h">] - n.value) * z.slope);
      io.put(d_column<"n">, d_n);
      io.put(d_column<"nh">, d_n * r.value);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

struct GruBeforeGeneral {
  static constexpr Name name = "gru_before_general";
  static constexpr List<Name> gates = {"r", "z", "n"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"r_sum"}, {"z_sum"}, {"n_sum"}, {"z"}, {"rh"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};
  static constexpr List<ConstantSpec> constants = gru_constants;

  struct Gates {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("r"), both("z")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto r_sum = io[sum<"r">], z_sum = io[sum<"z">];
      io.put(record<"z">, FunctionF::value(io, z_sum));
      io.put(record<"rh">, FunctionF::value(io, r_sum) * io[previous<"h">]);
      io.put(record<"r_sum">, r_sum), io.put(record<"z_sum">, z_sum);
    }
  };
  struct Candidate {
    static constexpr Product product = {"weight_hh", record<"rh">};
    static constexpr List<ColumnSpec> columns = {both("n")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto n_sum = io[sum<"n">], n = FunctionG::value(io, n_sum);
      io.put(state<"h">, fma(io[record<"z">], io[previous<"h">] - n, n));
      io.put(record<"n_sum">, n_sum);
    }
  };
  struct CandidateBack {
    using through = Gates;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto z = FunctionF::at(io, io[record<"z_sum">]), n = FunctionG::at(io, io[record<"n_sum">]);
      io.put(d_previous<"h">, d_h * z.value);
      io.put(d_column<"z">, d_h * (io[previous<"h">] - n.value) * z.slope);
      io.put(d_column<"n">, fma(-d_h, z.value, d_h) * n.slope);
    }
  };
  struct ResetBack {
    using through = Candidate;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_rh = io[product];
      const auto r = FunctionF::at(io, io[record<"r_sum">]);
      io.put(d_previous<"h">, fma(d_rh, r.value, io[d_previous<"h">]));
      io.put(d_column<"r">, d_rh * io[previous<"h">] * r.slope);
    }
  };

  using forward = Stages<Gates, Candidate>;
  using backward = Stages<CandidateBack, ResetBack>;
};

}  // namespace
}  // namespace pylstm::cells
