// The arithmetic of every cell, forward beside backward. The names are those of the equations in lstm.h, gru.h, rnn.h
// and of pylstm/reference/cells.py; d_ is the gradient of the loss with respect to what follows, and gradients to gates
// are with respect to the accumulator, before the activation.
#pragma once

#include "gemm.h"
#include "simd/math.h"

namespace pylstm {
namespace {

// Derivatives written with the value of the function.
template <class V>
inline V sigmoid_slope(V y) {
  return fma(-y, y, y);
}
template <class V>
inline V tanh_slope(V y) {
  return fma(-y, y, splat<V>(1));
}
template <class V>
inline V relu(V x) {
  return x > V{} ? x : x != x ? x : V{};  // NaN stays NaN
}

struct Lstm {
  static constexpr StageId id = StageId::lstm;
  using Map = Dense<4>;
  static constexpr int inputs = 1, outputs = 2, saved = 4;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V c_prev = in[0];
    const V i = sigmoid(a[0]), f = sigmoid(a[1]), g = tanh(a[2]), o = sigmoid(a[3]);
    const V c = fma(f, c_prev, i * g);
    out[0] = o * tanh(c), out[1] = c;
    out[2] = i, out[3] = f, out[4] = g, out[5] = o;
  }
};

template <bool PROJECTED>
struct LstmBackward {
  static constexpr StageId id = PROJECTED ? StageId::d_lstm_projected : StageId::d_lstm;
  using Map = Dense<1>;
  static constexpr int inputs = PROJECTED ? 7 : 9, outputs = 5, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V carry_c = in[0], c_prev = in[1], c = in[2], i = in[3], f = in[4], g = in[5], o = in[6];
    V d_h = a[0];
    if constexpr (!PROJECTED) d_h = d_h + in[7] + in[8];
    const V tanh_c = tanh(c);
    const V d_c = fma(d_h * o, tanh_slope(tanh_c), carry_c);
    out[0] = d_c * f;
    out[1] = d_c * g * sigmoid_slope(i);
    out[2] = d_c * c_prev * sigmoid_slope(f);
    out[3] = d_c * i * tanh_slope(g);
    out[4] = d_h * tanh_c * sigmoid_slope(o);
  }
};

struct GruAfter {
  static constexpr StageId id = StageId::gru_after;
  using Map = ColumnMap<4, 0b0111, 0b1011>;  // x: r z n, h: r z nh
  static constexpr int inputs = 1, outputs = 1, saved = 4;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V h_prev = in[0];
    const V r = sigmoid(a[0]), z = sigmoid(a[1]), nh = a[3];
    const V n = tanh(fma(r, nh, a[2]));
    out[0] = fma(z, h_prev - n, n);
    out[1] = r, out[2] = z, out[3] = n, out[4] = nh;
  }
};

struct GruAfterBackward {
  static constexpr StageId id = StageId::d_gru_after;
  using Map = Dense<1>;
  static constexpr int inputs = 7, outputs = 5, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V d_h = a[0] + in[0] + in[1];
    const V h_prev = in[2], r = in[3], z = in[4], n = in[5], nh = in[6];
    const V d_n = fma(-d_h, z, d_h) * tanh_slope(n);
    out[0] = d_h * z;
    out[1] = d_n * nh * sigmoid_slope(r);
    out[2] = d_h * (h_prev - n) * sigmoid_slope(z);
    out[3] = d_n;
    out[4] = d_n * r;
  }
};

struct GruBeforeGates {
  static constexpr StageId id = StageId::gru_before_gates;
  using Map = Dense<2>;
  static constexpr int inputs = 1, outputs = 2, saved = 1;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V r = sigmoid(a[0]), z = sigmoid(a[1]);
    out[0] = z, out[1] = r * in[0], out[2] = r;
  }
};

struct GruBeforeCandidate {
  static constexpr StageId id = StageId::gru_before_candidate;
  using Map = Dense<1>;
  static constexpr int inputs = 2, outputs = 1, saved = 1;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V h_prev = in[0], z = in[1], n = tanh(a[0]);
    out[0] = fma(z, h_prev - n, n), out[1] = n;
  }
};

struct GruBeforeCandidateBackward {
  static constexpr StageId id = StageId::d_gru_before_candidate;
  using Map = Dense<1>;
  static constexpr int inputs = 5, outputs = 3, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V d_h = a[0] + in[0] + in[1];
    const V h_prev = in[2], z = in[3], n = in[4];
    out[0] = d_h * z;
    out[1] = d_h * (h_prev - n) * sigmoid_slope(z);
    out[2] = fma(-d_h, z, d_h) * tanh_slope(n);
  }
};

struct GruBeforeResetBackward {
  static constexpr StageId id = StageId::d_gru_before_reset;
  using Map = Dense<1>;
  static constexpr int inputs = 3, outputs = 2, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V d_rh = a[0], carry = in[0], h_prev = in[1], r = in[2];
    out[0] = fma(d_rh, r, carry);
    out[1] = d_rh * h_prev * sigmoid_slope(r);
  }
};

template <bool RELU>
struct Rnn {
  static constexpr StageId id = RELU ? StageId::rnn_relu : StageId::rnn_tanh;
  using Map = Dense<1>;
  static constexpr int inputs = 0, outputs = 1, saved = 0;
  template <class V>
  static void apply(const V* a, const V*, V* out) {
    if constexpr (RELU)
      out[0] = relu(a[0]);
    else
      out[0] = tanh(a[0]);
  }
};

template <bool RELU>
struct RnnBackward {
  static constexpr StageId id = RELU ? StageId::d_rnn_relu : StageId::d_rnn_tanh;
  using Map = Dense<1>;
  static constexpr int inputs = 3, outputs = 1, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    const V d_h = a[0] + in[0] + in[1], h = in[2];
    if constexpr (RELU)
      out[0] = h > V{} ? d_h : V{};
    else
      out[0] = d_h * tanh_slope(h);
  }
};

struct Linear {
  static constexpr StageId id = StageId::linear;
  using Map = Dense<1>;
  static constexpr int inputs = 0, outputs = 1, saved = 0;
  template <class V>
  static void apply(const V* a, const V*, V* out) {
    out[0] = a[0];
  }
};

struct Add {
  static constexpr StageId id = StageId::add;
  using Map = Dense<1>;
  static constexpr int inputs = 1, outputs = 1, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    out[0] = a[0] + in[0];
  }
};

// The gradient to a projected h is one more column of gradients to accumulators: the next stage multiplies it.
struct ProjectionBackward {
  static constexpr StageId id = StageId::d_projection;
  using Map = Dense<1>;
  static constexpr int inputs = 2, outputs = 1, saved = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    out[0] = a[0] + in[0] + in[1];
  }
};

// All of them: kernels.cpp fills its table from this list.
template <class... Stages>
struct StageList {};
using AllStages = StageList<Lstm, LstmBackward<false>, LstmBackward<true>, GruAfter, GruAfterBackward, GruBeforeGates,
                            GruBeforeCandidate, GruBeforeCandidateBackward, GruBeforeResetBackward, Rnn<false>,
                            Rnn<true>, RnnBackward<false>, RnnBackward<true>, Linear, Add, ProjectionBackward>;

}  // namespace
}  // namespace pylstm
