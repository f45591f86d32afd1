// The LSTM with functions that are chosen when a network is made, peepholes (Gers & Schmidhuber 2000) and a bound on
// what goes into the functions, as the operator of ONNX has them:
//     i, f = f(W x + R h + p * c + b)    g = g(W_g x + R_g h + b_g)    c' = f * c + i * g
//     o = f(W_o x + R_o h + p_o * c' + b_o)    h' = o * h(c')
// and the one whose forget gate is 1 - i (CIFG: Greff et al. 2015; ONNX input_forget), which has three blocks of
// weights. Gate order i, f, g, o, and i, g, o. Absent peepholes are zeros.
#pragma once

#include "activations.h"

namespace pylstm::cells {
namespace {

constexpr ParamSpec peephole(Name name) {
  ParamSpec spec = unit_vector(name);
  spec.optional = true;
  return spec;
}
constexpr List<ConstantSpec> lstm_constants = {f_kind, f_alpha, f_beta,  g_kind, g_alpha,
                                               g_beta, h_kind,  h_alpha, h_beta, clip_bound};

struct LstmGeneral {
  static constexpr Name name = "lstm_general";
  static constexpr List<Name> gates = {"i", "f", "g", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}};
  static constexpr List<RowSpec> records = {{"i_sum"}, {"f_sum"}, {"g_sum"}, {"o_sum"}};
  static constexpr List<ParamSpec> parameters = {
      weight_ih, weight_hh, bias_ih, bias_hh, peephole("weight_ci"), peephole("weight_cf"), peephole("weight_co")};
  static constexpr List<ConstantSpec> constants = lstm_constants;

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("i"), both("f"), both("g"), both("o")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto c = io[previous<"c">], g_sum = io[sum<"g">];
      const auto i_sum = fma(c, io[parameter<"weight_ci">], io[sum<"i">]);
      const auto f_sum = fma(c, io[parameter<"weight_cf">], io[sum<"f">]);
      const auto i = FunctionF::value(io, i_sum), f = FunctionF::value(io, f_sum), g = FunctionG::value(io, g_sum);
      const auto c_new = fma(f, c, i * g), o_sum = fma(c_new, io[parameter<"weight_co">], io[sum<"o">]);
      io.put(state<"h">, FunctionF::value(io, o_sum) * FunctionH::value(io, c_new));
      io.put(state<"c">, c_new);
      io.put(record<"i_sum">, i_sum), io.put(record<"f_sum">, f_sum);
      io.put(record<"g_sum">, g_sum), io.put(record<"o_sum">, o_sum);
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">], c_old = io[previous<"c">], c = io[state<"c">];
      const auto o = FunctionF::at(io, io[record<"o_sum">]), shown = FunctionH::at(io, c);
      const auto d_o = d_h * shown.value * o.slope;
      const auto d_c = fma(d_h * o.value, shown.slope, fma(d_o, io[parameter<"weight_co">], io[d_state<"c">]));
      const auto i = FunctionF::at(io, io[record<"i_sum">]), g = FunctionG::at(io, io[record<"g_sum">]);
      const auto f = FunctionF::at(io, io[record<"f_sum">]);
      const auto d_i = d_c * g.value * i.slope, d_f = d_c * c_old * f.slope;
      const auto through_gates = fma(d_i, io[parameter<"weight_ci">], d_f * io[parameter<"weight_cf">]);
      io.put(d_previous<"c">, fma(d_c, f.value, through_gates));
      io.put(d_column<"i">, d_i), io.put(d_column<"f">, d_f), io.put(d_column<"o">, d_o);
      io.put(d_column<"g">, d_c * i.value * g.slope);
      io.put(d_parameter<"weight_ci">, d_i * c_old), io.put(d_parameter<"weight_cf">, d_f * c_old);
      io.put(d_parameter<"weight_co">, d_o * c);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

struct LstmCoupled {
  static constexpr Name name = "lstm_coupled";
  static constexpr List<Name> gates = {"i", "g", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}};
  static constexpr List<RowSpec> records = {{"i_sum"}, {"g_sum"}, {"o_sum"}};
  static constexpr List<ParamSpec> parameters = {
      weight_ih, weight_hh, bias_ih, bias_hh, peephole("weight_ci"), peephole("weight_co")};
  static constexpr List<ConstantSpec> constants = lstm_constants;

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    // A stage has no three columns: the halves of o are apart, which multiplies as much, in the tiles of the GRU.
    static constexpr List<ColumnSpec> columns = {both("i"), both("g"), of_x("o"), of_operand("oh", "o")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto c = io[previous<"c">], i_sum = fma(c, io[parameter<"weight_ci">], io[sum<"i">]), g_sum = io[sum<"g">];
      const auto i = FunctionF::value(io, i_sum), g = FunctionG::value(io, g_sum);
      const auto c_new = fma(1 - i, c, i * g);
      const auto o_sum = fma(c_new, io[parameter<"weight_co">], io[sum<"o">] + io[sum<"oh">]);
      io.put(state<"h">, FunctionF::value(io, o_sum) * FunctionH::value(io, c_new));
      io.put(state<"c">, c_new);
      io.put(record<"i_sum">, i_sum), io.put(record<"g_sum">, g_sum), io.put(record<"o_sum">, o_sum);
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">], c_old = io[previous<"c">], c = io[state<"c">];
      const auto o = FunctionF::at(io, io[record<"o_sum">]), shown = FunctionH::at(io, c);
      const auto d_o = d_h * shown.value * o.slope;
      const auto d_c = fma(d_h * o.value, shown.slope, fma(d_o, io[parameter<"weight_co">], io[d_state<"c">]));
      const auto i = FunctionF::at(io, io[record<"i_sum">]), g = FunctionG::at(io, io[record<"g_sum">]);
      const auto d_i = d_c * (g.value - c_old) * i.slope;
      io.put(d_previous<"c">, fma(d_c, 1 - i.value, d_i * io[parameter<"weight_ci">]));
      io.put(d_column<"i">, d_i), io.put(d_column<"g">, d_c * i.value * g.slope);
      io.put(d_column<"o">, d_o), io.put(d_column<"oh">, d_o);
      io.put(d_parameter<"weight_ci">, d_i * c_old), io.put(d_parameter<"weight_co">, d_o * c);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

}  // namespace
}  // namespace pylstm::cells
