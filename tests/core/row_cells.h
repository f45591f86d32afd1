// Cells for tests alone, with stages of whole rows (normalised by mean and variance, or by the largest number),
// constants and masks.
#pragma once

#include "cells/describe.h"

namespace pylstm::cells {
namespace {

// W x + R h + b of the one gate, for a row stage behind it.
struct RecordSum {
  static constexpr Product product = {"weight_hh", previous<"h">};
  static constexpr List<ColumnSpec> columns = {both("h")};
  template <class Io>
  static constexpr void apply(Io& io) {
    io.put(record<"a">, io[sum<"h">]);
  }
};

// h' = tanh(gain * n + shift), n = (a - mean a) / sqrt(var a + eps), a = W x + b + R h (Ba, Kiros & Hinton 2016). The
// row stage stands between two others.
struct LayerNormRnn {
  static constexpr Name name = "layer_norm_rnn";
  static constexpr List<Name> gates = {"h"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"a"}, {"n"}, {"scale", Size::one}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, unit_vector("gain"),
                                                 unit_vector("shift")};
  static constexpr List<ConstantSpec> constants = {{"eps", 1e-3}};

  using Sum = RecordSum;
  struct Normalise {
    template <class Row>
    static constexpr void apply_row(Row& row) {
      const auto mean = row.mean([](auto& u) { return u[record<"a">]; });
      const auto variance = row.mean([&](auto& u) {
        const auto apart = u[record<"a">] - mean;
        return apart * apart;
      });
      const auto scale = rsqrt(variance + row[constant<"eps">]);
      row.each([&](auto& u) { u.put(record<"n">, (u[record<"a">] - mean) * scale); });
      row.put(record<"scale">, scale);
    }
  };
  struct Output {
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(state<"h">, tanh(fma(io[record<"n">], io[parameter<"gain">], io[parameter<"shift">])));
    }
  };

  struct OutputBack {
    using through = Sum;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">], d = d_h * tanh_slope(io[state<"h">]);
      io.put(d_parameter<"gain">, d * io[record<"n">]), io.put(d_parameter<"shift">, d);
      io.put(d_record<"n">, d * io[parameter<"gain">]);
    }
  };
  struct NormaliseBack {
    template <class Row>
    static constexpr void apply_row(Row& row) {
      const auto mean = row.mean([](auto& u) { return u[d_record<"n">]; });
      const auto along = row.mean([](auto& u) { return u[d_record<"n">] * u[record<"n">]; });
      const auto scale = row[record<"scale">];
      row.each([&](auto& u) { u.put(d_column<"h">, scale * (u[d_record<"n">] - mean - u[record<"n">] * along)); });
    }
  };

  using forward = Stages<Sum, Normalise, Output>;
  using backward = Stages<OutputBack, NormaliseBack>;
};

// The layer-normalised LSTM of the same paper: W x, R h (each over the four gates together) and c are normalised apart,
// and a row stage does all but the products.
struct LayerNormLstm {
  static constexpr Name name = "layer_norm_lstm";
  static constexpr List<Name> gates = {"i", "f", "g", "o"};
  static constexpr List<RowSpec> states = {{"h", Size::output}, {"c"}};
  static constexpr List<RowSpec> records = {{"xi"},
                                            {"xf"},
                                            {"xg"},
                                            {"xo"},
                                            {"hi"},
                                            {"hf"},
                                            {"hg"},
                                            {"ho"},
                                            {"i"},
                                            {"f"},
                                            {"g"},
                                            {"o"},
                                            {"n"},
                                            {"scale_x", Size::one},
                                            {"scale_h", Size::one},
                                            {"scale_c", Size::one},
                                            {"mean_x", Size::one},
                                            {"mean_h", Size::one}};
  static constexpr List<ParamSpec> parameters = {weight_ih,
                                                 weight_hh,
                                                 unit_vector("gain_xi"),
                                                 unit_vector("gain_xf"),
                                                 unit_vector("gain_xg"),
                                                 unit_vector("gain_xo"),
                                                 unit_vector("gain_hi"),
                                                 unit_vector("gain_hf"),
                                                 unit_vector("gain_hg"),
                                                 unit_vector("gain_ho"),
                                                 unit_vector("bias_i"),
                                                 unit_vector("bias_f"),
                                                 unit_vector("bias_g"),
                                                 unit_vector("bias_o"),
                                                 unit_vector("gain_c"),
                                                 unit_vector("bias_c")};
  static constexpr List<ConstantSpec> constants = {{"eps", 1e-3}};

  struct OfX {
    static constexpr List<ColumnSpec> columns = {of_x("i"), of_x("f"), of_x("g"), of_x("o")};
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(record<"xi">, io[sum<"i">]), io.put(record<"xf">, io[sum<"f">]);
      io.put(record<"xg">, io[sum<"g">]), io.put(record<"xo">, io[sum<"o">]);
    }
  };
  struct OfH {
    static constexpr Product product = {"weight_hh", previous<"h">};
    static constexpr List<ColumnSpec> columns = {of_operand("hi", "i"), of_operand("hf", "f"), of_operand("hg", "g"),
                                                 of_operand("ho", "o")};
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(record<"hi">, io[sum<"hi">]), io.put(record<"hf">, io[sum<"hf">]);
      io.put(record<"hg">, io[sum<"hg">]), io.put(record<"ho">, io[sum<"ho">]);
    }
  };
  // Mean and 1 / sqrt(variance + eps) of four records together.
  template <Name I, Name F, Name G, Name O, Name MEAN, Name SCALE, class Row>
  static constexpr void measure(Row& row) {
    const auto mean =
        0.25 * row.mean([](auto& u) { return u[record<I>] + u[record<F>] + u[record<G>] + u[record<O>]; });
    const auto square = row.mean([&](auto& u) {
      const auto i = u[record<I>] - mean, f = u[record<F>] - mean, g = u[record<G>] - mean, o = u[record<O>] - mean;
      return fma(i, i, f * f) + fma(g, g, o * o);
    });
    row.put(record<MEAN>, mean), row.put(record<SCALE>, rsqrt(0.25 * square + row[constant<"eps">]));
  }
  struct Rest {
    template <class Row>
    static constexpr void apply_row(Row& row) {
      measure<"xi", "xf", "xg", "xo", "mean_x", "scale_x">(row);
      measure<"hi", "hf", "hg", "ho", "mean_h", "scale_h">(row);
      const auto mean_x = row[record<"mean_x">], scale_x = row[record<"scale_x">];
      const auto mean_h = row[record<"mean_h">], scale_h = row[record<"scale_h">];
      const auto x = [&](auto a) { return (a - mean_x) * scale_x; };
      const auto h = [&](auto a) { return (a - mean_h) * scale_h; };
      const auto mean = row.mean([&](auto& u) {
        const auto i = sigmoid(fma(x(u[record<"xi">]), u[parameter<"gain_xi">],
                                   fma(h(u[record<"hi">]), u[parameter<"gain_hi">], u[parameter<"bias_i">])));
        const auto f = sigmoid(fma(x(u[record<"xf">]), u[parameter<"gain_xf">],
                                   fma(h(u[record<"hf">]), u[parameter<"gain_hf">], u[parameter<"bias_f">])));
        const auto g = tanh(fma(x(u[record<"xg">]), u[parameter<"gain_xg">],
                                fma(h(u[record<"hg">]), u[parameter<"gain_hg">], u[parameter<"bias_g">])));
        const auto o = sigmoid(fma(x(u[record<"xo">]), u[parameter<"gain_xo">],
                                   fma(h(u[record<"ho">]), u[parameter<"gain_ho">], u[parameter<"bias_o">])));
        const auto c = fma(f, u[previous<"c">], i * g);
        u.put(record<"i">, i), u.put(record<"f">, f), u.put(record<"g">, g), u.put(record<"o">, o);
        u.put(state<"c">, c);
        return c;
      });
      const auto variance = row.mean([&](auto& u) {
        const auto apart = u[state<"c">] - mean;
        return apart * apart;
      });
      const auto scale = rsqrt(variance + row[constant<"eps">]);
      row.put(record<"scale_c">, scale);
      row.each([&](auto& u) {
        const auto n = (u[state<"c">] - mean) * scale;
        u.put(record<"n">, n);
        u.put(state<"h">, u[record<"o">] * tanh(fma(n, u[parameter<"gain_c">], u[parameter<"bias_c">])));
      });
    }
  };

  struct OutputBack {
    using through = OfH;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">], o = io[record<"o">], n = io[record<"n">];
      const auto tanh_c = tanh(fma(n, io[parameter<"gain_c">], io[parameter<"bias_c">]));
      const auto d = d_h * o * tanh_slope(tanh_c);
      io.put(d_record<"o">, d_h * tanh_c * sigmoid_slope(o));
      io.put(d_record<"n">, d * io[parameter<"gain_c">]);
      io.put(d_parameter<"gain_c">, d * n), io.put(d_parameter<"bias_c">, d);
    }
  };
  struct RestBack {
    template <class Row>
    static constexpr void apply_row(Row& row) {
      const auto mean = row.mean([](auto& u) { return u[d_record<"n">]; });
      const auto along = row.mean([](auto& u) { return u[d_record<"n">] * u[record<"n">]; });
      const auto scale_c = row[record<"scale_c">];
      row.each([&](auto& u) {
        const auto i = u[record<"i">], f = u[record<"f">], g = u[record<"g">];
        const auto d_c = fma(scale_c, u[d_record<"n">] - mean - u[record<"n">] * along, u[d_state<"c">]);
        u.put(d_previous<"c">, d_c * f);
        u.put(d_record<"i">, d_c * g * sigmoid_slope(i));
        u.put(d_record<"f">, d_c * u[previous<"c">] * sigmoid_slope(f));
        u.put(d_record<"g">, d_c * i * tanh_slope(g));
        u.put(d_parameter<"bias_i">, u[d_record<"i">]), u.put(d_parameter<"bias_f">, u[d_record<"f">]);
        u.put(d_parameter<"bias_g">, u[d_record<"g">]), u.put(d_parameter<"bias_o">, u[d_record<"o">]);
      });
      spread<"xi", "i", "gain_xi", "xf", "f", "gain_xf", "xg", "g", "gain_xg", "xo", "o", "gain_xo">(
          row, row[record<"mean_x">], row[record<"scale_x">], d_column<"i">, d_column<"f">, d_column<"g">,
          d_column<"o">);
      spread<"hi", "i", "gain_hi", "hf", "f", "gain_hf", "hg", "g", "gain_hg", "ho", "o", "gain_ho">(
          row, row[record<"mean_h">], row[record<"scale_h">], d_column<"hi">, d_column<"hf">, d_column<"hg">,
          d_column<"ho">);
    }
    // From the gradients to the gates, d_record<..>, to those of what was normalised for them.
    template <Name AI, Name DI, Name GI, Name AF, Name DF, Name GF, Name AG, Name DG, Name GG, Name AO, Name DO,
              Name GO, class Row, class V, class I, class F, class G, class O>
    static constexpr void spread(Row& row, V mean, V scale, I to_i, F to_f, G to_g, O to_o) {
      const auto n = [&](auto a) { return (a - mean) * scale; };
      const auto d_mean = 0.25 * row.mean([](auto& u) {
        return fma(u[d_record<DI>], u[parameter<GI>], u[d_record<DF>] * u[parameter<GF>]) +
               fma(u[d_record<DG>], u[parameter<GG>], u[d_record<DO>] * u[parameter<GO>]);
      });
      const auto along = 0.25 * row.mean([&](auto& u) {
        return fma(u[d_record<DI>] * u[parameter<GI>], n(u[record<AI>]),
                   u[d_record<DF>] * u[parameter<GF>] * n(u[record<AF>])) +
               fma(u[d_record<DG>] * u[parameter<GG>], n(u[record<AG>]),
                   u[d_record<DO>] * u[parameter<GO>] * n(u[record<AO>]));
      });
      row.each([&](auto& u) {
        const auto one = [&](auto a, auto d, auto gain, auto to_gain, auto to) {
          u.put(to_gain, d * n(a));
          u.put(to, scale * (d * gain - d_mean - n(a) * along));
        };
        one(u[record<AI>], u[d_record<DI>], u[parameter<GI>], d_parameter<GI>, to_i);
        one(u[record<AF>], u[d_record<DF>], u[parameter<GF>], d_parameter<GF>, to_f);
        one(u[record<AG>], u[d_record<DG>], u[parameter<GG>], d_parameter<GG>, to_g);
        one(u[record<AO>], u[d_record<DO>], u[parameter<GO>], d_parameter<GO>, to_o);
      });
    }
  };

  using forward = Stages<OfX, OfH, Rest>;
  using backward = Stages<OutputBack, RestBack>;
};

// h' = a / max |a| + keep * h, cut off at +-clip; a = W x + R h + b.
struct ClippedRnn {
  static constexpr Name name = "clipped_rnn";
  static constexpr List<Name> gates = {"h"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"a"}, {"most", Size::one}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih, bias_hh};
  static constexpr List<ConstantSpec> constants = {{"keep", 0.4}, {"clip", 0.7}};

  using Sum = RecordSum;
  struct Scale {
    template <class Row>
    static constexpr void apply_row(Row& row) {
      const auto most = row.max([](auto& u) { return abs(u[record<"a">]); });
      row.put(record<"most">, most);
      row.each([&](auto& u) {
        const auto clip = u[constant<"clip">], h = fma(u[constant<"keep">], u[previous<"h">], u[record<"a">] / most);
        const auto low = h < -clip ? -clip : h;
        u.put(state<"h">, low > clip ? clip : low);
      });
    }
  };
  struct ClipBack {
    using through = Sum;
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[product] + io[d_output] + io[d_state<"h">];
      const auto d = abs(io[state<"h">]) < io[constant<"clip">] ? d_h : decltype(d_h){};
      io.put(d_record<"a">, d);
      io.put(d_previous<"h">, d * io[constant<"keep">]);
    }
  };
  struct ScaleBack {
    template <class Row>
    static constexpr void apply_row(Row& row) {
      const auto most = row[record<"most">];
      const auto all = row.sum([](auto& u) { return u[d_record<"a">] * u[record<"a">]; }) / (most * most);
      row.each([&](auto& u) {
        const auto a = u[record<"a">], through_most = a < decltype(a){} ? -all : all;
        u.put(d_column<"h">, u[d_record<"a">] / most - (abs(a) < most ? decltype(a){} : through_most));
      });
    }
  };

  using forward = Stages<Sum, Scale>;
  using backward = Stages<ClipBack, ScaleBack>;
};

// Recurrent dropout, the same for all steps of a sequence (Gal & Ghahramani 2016), and zoneout (Krueger et al. 2017):
// h' = zone * n + (1 - zone) * h, n = tanh(W x + R (drop * h) + b).
struct ZoneoutRnn {
  static constexpr Name name = "zoneout_rnn";
  static constexpr List<Name> gates = {"h"};
  static constexpr List<RowSpec> states = {{"h", Size::output}};
  static constexpr List<RowSpec> records = {{"left"}, {"n"}};
  static constexpr List<ParamSpec> parameters = {weight_ih, weight_hh, bias_ih};
  static constexpr List<ConstantSpec> constants = {{"zoneout", 0.25}, {"dropout", 0.5}};
  static constexpr List<MaskSpec> masks = {{"zone", "zoneout"},
                                           {"drop", "dropout", Drawn::each_sequence, Kept::scaled}};

  struct Drop {
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(record<"left">, io[mask<"drop">] * io[previous<"h">]);
    }
  };
  struct Step {
    static constexpr Product product = {"weight_hh", record<"left">};
    static constexpr List<ColumnSpec> columns = {both("h")};
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto n = tanh(io[sum<"h">]), h = io[previous<"h">];
      io.put(record<"n">, n);
      io.put(state<"h">, fma(io[mask<"zone">], n - h, h));
    }
  };
  struct StepBack {
    template <class Io>
    static constexpr void apply(Io& io) {
      const auto d_h = io[d_output] + io[d_state<"h">], d_n = d_h * io[mask<"zone">];
      io.put(d_previous<"h">, d_h - d_n);
      io.put(d_column<"h">, d_n * tanh_slope(io[record<"n">]));
    }
  };
  struct DropBack {
    using through = Step;
    template <class Io>
    static constexpr void apply(Io& io) {
      io.put(d_previous<"h">, fma(io[product], io[mask<"drop">], io[d_previous<"h">]));
    }
  };

  using forward = Stages<Drop, Step>;
  using backward = Stages<StepBack, DropBack>;
};

}  // namespace
}  // namespace pylstm::cells
