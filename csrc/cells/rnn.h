// The plain recurrent network of Elman 1990: h' = tanh or relu of (W x + b_ih + R h + b_hh).
#pragma once

#include "describe.h"

namespace pylstm::cells {
namespace {

template <bool RELU>
struct Rnn {
  static constexpr Name name = RELU ? "rnn_relu" : "rnn_tanh";
  static constexpr List<Name> gates = {"h"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("h")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto a = io[sum<"h">];
      if constexpr (RELU)
        io.put(state<"h">, relu(a));
      else
        io.put(state<"h">, tanh(a));
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">], h = io[state<"h">];
      if constexpr (RELU)
        io.put(d_column<"h">, h > decltype(h){} ? d_h : decltype(h){});
      else
        io.put(d_column<"h">, d_h * tanh_slope(h));
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

}  // namespace
}  // namespace pylstm::cells
