// Cells for tests alone, which use what the library's own do not: no product with h, stages without any product,
// parameters that are vectors, four states; stages of whole rows, constants and masks are in row_cells.h. kernels.cpp
// runs them with the others.
#pragma once

#include "cells/describe.h"
#include "row_cells.h"

namespace pylstm::cells {
namespace {

// h' = (1 - z) * h + z * n, and neither z nor n looks at h (Feng et al. 2024).
struct MinimalGru {
  static constexpr Name name = "minimal_gru";
  static constexpr List<Name> gates = {"z", "n"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"z"}, {"n"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, bias_ih};

  struct Step {
    static constexpr List<ColumnSpec> columns = {of_x("z"), of_x("n")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto z = sigmoid(io[sum<"z">]), n = io[sum<"n">], h = io[previous<"h">];
      io.put(state<"h">, fma(z, n - h, h));
      io.put(record<"z">, z), io.put(record<"n">, n);
    }
  };
  struct Back {
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[d_output] + io[d_state<"h">], z = io[record<"z">];
      io.put(d_previous<"h">, fma(-d_h, z, d_h));
      io.put(d_column<"z">, d_h * (io[record<"n">] - io[previous<"h">]) * sigmoid_slope(z));
      io.put(d_column<"n">, d_h * z);
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

// The gates look at the cell as well, each unit at its own: Gers & Schmidhuber 2000. In two stages, of which the second
// multiplies nothing.
struct PeepholeLstm {
  static constexpr Name name = "peephole_lstm";
  static constexpr List<Name> gates = {"i", "f", "g", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}};
  static constexpr List<RowSpec> records = {{"i"}, {"f"}, {"g"}, {"o"}, {"o_sum"}};
  static constexpr List<ParamSpec> parameters = {weight_ih,
                                                 weight_hh,
                                                 bias_ih,
                                                 bias_hh,
                                                 unit_vector("weight_ci"),
                                                 unit_vector("weight_cf"),
                                                 unit_vector("weight_co")};

  struct Cell {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("i"), both("f"), both("g"), both("o")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto c = io[previous<"c">];
      const auto i = sigmoid(fma(c, io[parameter<"weight_ci">], io[sum<"i">]));
      const auto f = sigmoid(fma(c, io[parameter<"weight_cf">], io[sum<"f">]));
      const auto g = tanh(io[sum<"g">]);
      io.put(state<"c">, fma(f, c, i * g));
      io.put(record<"i">, i), io.put(record<"f">, f), io.put(record<"g">, g), io.put(record<"o_sum">, io[sum<"o">]);
    }
  };
  struct Output {
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto c = io[state<"c">], o = sigmoid(fma(c, io[parameter<"weight_co">], io[record<"o_sum">]));
      io.put(state<"h">, o * tanh(c));
      io.put(record<"o">, o);
    }
  };
  struct Back {
    using through = Cell;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto i = io[record<"i">], f = io[record<"f">], g = io[record<"g">], o = io[record<"o">];
      const auto c = io[state<"c">], c_prev = io[previous<"c">], tanh_c = tanh(c);
      const auto d_o = d_h * tanh_c * sigmoid_slope(o);
      const auto d_c = fma(d_h * o, tanh_slope(tanh_c), fma(d_o, io[parameter<"weight_co">], io[d_state<"c">]));
      const auto d_i = d_c * g * sigmoid_slope(i), d_f = d_c * c_prev * sigmoid_slope(f);
      io.put(d_previous<"c">, fma(d_c, f, fma(d_i, io[parameter<"weight_ci">], d_f * io[parameter<"weight_cf">])));
      io.put(d_column<"i">, d_i), io.put(d_column<"f">, d_f), io.put(d_column<"o">, d_o);
      io.put(d_column<"g">, d_c * i * tanh_slope(g));
      io.put(d_parameter<"weight_ci">, d_i * c_prev), io.put(d_parameter<"weight_cf">, d_f * c_prev);
      io.put(d_parameter<"weight_co">, d_o * c);
    }
  };

  using forward = Stages<Cell, Output>;
  using backward = Stages<Back>;
};

// Exponential gates with a normaliser, as the sLSTM of Beck et al. 2024 but with a slow trace s of c in place of the
// stabiliser: h, c, n and s.
struct FourStates {
  static constexpr Name name = "four_states";
  static constexpr List<Name> gates = {"i", "f", "z", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}, {"n"}, {"s"}};
  static constexpr List<RowSpec> records = {{"i"}, {"f"}, {"z"}, {"o"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih};

  struct Step {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {both("i"), both("f"), both("z"), both("o")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto i = exp(io[sum<"i">]), f = sigmoid(io[sum<"f">]), z = tanh(io[sum<"z">]), o = sigmoid(io[sum<"o">]);
      const auto c = fma(f, io[previous<"c">], i * z), n = fma(f, io[previous<"n">], i);
      const auto s = fma(o, c - io[previous<"s">], io[previous<"s">]);
      io.put(state<"c">, c), io.put(state<"n">, n), io.put(state<"s">, s);
      io.put(state<"h">, o * c / fma(n, n, n - n + 1) + s);
      io.put(record<"i">, i), io.put(record<"f">, f), io.put(record<"z">, z), io.put(record<"o">, o);
    }
  };
  struct Back {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto i = io[record<"i">], f = io[record<"f">], z = io[record<"z">], o = io[record<"o">];
      const auto c = io[state<"c">], n = io[state<"n">], rest = fma(n, n, n - n + 1);
      const auto d_s = d_h + io[d_state<"s">];
      const auto d_c = fma(d_s, o, io[d_state<"c">]) + d_h * o / rest;
      const auto d_n = io[d_state<"n">] - d_h * o * c * (n + n) / (rest * rest);
      io.put(d_previous<"c">, d_c * f), io.put(d_previous<"n">, d_n * f), io.put(d_previous<"s">, fma(-d_s, o, d_s));
      io.put(d_column<"i">, fma(d_c, z, d_n) * i);
      io.put(d_column<"f">, fma(d_c, io[previous<"c">], d_n * io[previous<"n">]) * sigmoid_slope(f));
      io.put(d_column<"z">, d_c * i * tanh_slope(z));
      io.put(d_column<"o">, fma(d_s, c - io[previous<"s">], d_h * c / rest) * sigmoid_slope(o));
    }
  };

  using forward = Stages<Step>;
  using backward = Stages<Back>;
};

}  // namespace
}  // namespace pylstm::cells

namespace pylstm {
namespace {
using TestCells = CellList<cells::MinimalGru, cells::PeepholeLstm, cells::FourStates, cells::LayerNormRnn,
                           cells::LayerNormLstm, cells::ClippedRnn, cells::ZoneoutRnn>;
}
}  // namespace pylstm
