// The plain recurrent network of rnn.h with a function that is chosen when a network is made, and a bound on what goes
// into it, as the operator of ONNX has them: h' = f(W x + b_ih + R h + b_hh).
#pragma once

#include "activations.h"

namespace pylstm::cells {
namespace {

struct RnnGeneral {
  static constexpr Name name = "rnn_general";
  static constexpr List<Name> gates = {"h"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"h_sum"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};
  static constexpr List<ConstantSpec> constants = {f_kind, f_alpha, f_beta, clip_bound};

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("h")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto h_sum = io[sum<"h">];
      io.put(state<"h">, FunctionF::value(io, h_sum));
      io.put(record<"h_sum">, h_sum);
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      io.put(d_column<"h">, d_h * FunctionF::at(io, io[record<"h_sum">]).slope);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

}  // namespace
}  // namespace pylstm::cells
