// Long short-term memory: Hochreiter & Schmidhuber 1997, forget gate of Gers, Schmidhuber & Cummins 2000, projection
// of Sak, Senior & Beaufays 2014. Gate order i, f, g, o, as torch.nn.LSTM.
//     i, f, o = sigmoid(W x + R h + b)    g = tanh(W_g x + R_g h + b_g)    c' = f * c + i * g    m = o * tanh(c')
//     h' = m, or weight_hr m
#pragma once

#include "describe.h"

namespace pylstm::cells {
namespace {

// The arithmetic of both; HIDDEN is where m goes.
template <class HIDDEN>
struct LstmStep {
  static constexpr Product product = {"weight_hh", previous<"h">};
  static constexpr List<ColumnSpec> columns = {both("i"), both("f"), both("g"), both("o")};
  template <class Io>
  static constexpr void apply(Io& io) {
    const auto i = sigmoid(io[sum<"i">]), f = sigmoid(io[sum<"f">]), g = tanh(io[sum<"g">]), o = sigmoid(io[sum<"o">]);
    const auto c = fma(f, io[previous<"c">], i * g);
    io.put(HIDDEN(), o * tanh(c));
    io.put(state<"c">, c);
    io.put(record<"i">, i), io.put(record<"f">, f), io.put(record<"g">, g), io.put(record<"o">, o);
  }
};

// From the gradient to m.
template <class Io, class V>
constexpr void lstm_backward(Io& io, V d_m) {
  const V i = io[record<"i">], f = io[record<"f">], g = io[record<"g">], o = io[record<"o">];
  const V tanh_c = tanh(io[state<"c">]);
  const V d_c = fma(d_m * o, tanh_slope(tanh_c), io[d_state<"c">]);
  io.put(d_previous<"c">, d_c * f);
  io.put(d_column<"i">, d_c * g * sigmoid_slope(i));
  io.put(d_column<"f">, d_c * io[previous<"c">] * sigmoid_slope(f));
  io.put(d_column<"g">, d_c * i * tanh_slope(g));
  io.put(d_column<"o">, d_m * tanh_c * sigmoid_slope(o));
}

struct Lstm {
  static constexpr Name name = "lstm";
  static constexpr List<Name> gates = {"i", "f", "g", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}};
  static constexpr List<RowSpec> records = {{"i"}, {"f"}, {"g"}, {"o"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};

  using Step = LstmStep<Key<Where::state, "h">>;
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      lstm_backward(io, io[product] + io[d_output] + io[d_state<"h">]);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

struct LstmProjected {
  static constexpr Name name = "lstm_projected";
  static constexpr List<Name> gates = {"i", "f", "g", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}};
  static constexpr List<RowSpec> records = {{"i"}, {"f"}, {"g"}, {"o"}, {"m"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh, weight_hr};

  using Step = LstmStep<Key<Where::record, "m">>;
  struct Project {
    static constexpr Product product = {"weight_hr", record<"m">};
    static constexpr List<ColumnSpec> columns = {of_operand("projected", whole)};
    static constexpr Size width = Size::output;
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(state<"h">, io[sum<"projected">]);
    }
  };
  struct ProjectBack {
    using through = Step;
    static constexpr Size width = Size::output;
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(d_column<"projected">, io[product] + io[d_output] + io[d_state<"h">]);
    }
  };
  struct Back {
    using through = Project;
    template <class Io>
    static constexpr void apply(Io& io) {
      lstm_backward(io, io[product]);
    }
  };

  using forward = Stages<Step, Project>;
  using backward = Stages<ProjectBack, Back>;
};

}  // namespace
}  // namespace pylstm::cells
