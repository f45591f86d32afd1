// Activations that are chosen when a network is made: three of a cell's constants say which function it is and what its
// parameters alpha and beta are (the ONNX operators' names for them). One switch decides for a whole vector of units,
// and is taken the same way every time. The slope is checked against the function while compiling (cells.cpp).
//
// A function is evaluated where it is needed, also in the backward pass: what a step records is what went into it,
// since the slope of most is no function of the value.
#pragma once

#include "describe.h"
#include "number.h"

namespace pylstm::cells {
namespace {

// Numbered as the constant says it.
enum class Activation : int {
  tanh,
  sigmoid,
  relu,
  bounded_relu,  // of alpha at most
  linear,
  affine,  // alpha z + beta
  leaky_relu,
  thresholded_relu,
  scaled_tanh,   // alpha tanh(beta z)
  hard_sigmoid,  // alpha z + beta within 0..1
  elu,           // beta times it
  softsign,
  softplus,
  silu,
  exponential,
  count
};
constexpr Name activation_names[] = {
    "tanh",        "sigmoid",      "relu", "bounded_relu", "linear",   "affine", "leaky_relu", "thresholded_relu",
    "scaled_tanh", "hard_sigmoid", "elu",  "softsign",     "softplus", "silu",   "exponential"};
static_assert(sizeof activation_names / sizeof *activation_names == int(Activation::count));

// One function of this for all cells: neither the compiler's time nor the library grows with what calls it.
template <class V>
[[gnu::noinline]] constexpr V activate(V kind, V alpha, V beta, V z) {
  const V zero{}, one = zero + 1;
  switch (Activation(first_of(kind))) {
    case Activation::tanh:
      return tanh(z);
    case Activation::sigmoid:
      return sigmoid(z);
    case Activation::relu:
      return relu(z);
    case Activation::bounded_relu: {
      const V low = relu(z);
      return low > alpha ? alpha : low;
    }
    case Activation::affine:
      return fma(alpha, z, beta);
    case Activation::leaky_relu:
      return z > zero ? z : alpha * z;
    case Activation::thresholded_relu:
      return z > alpha ? z : z - z;  // NaN stays NaN
    case Activation::scaled_tanh:
      return alpha * tanh(beta * z);
    case Activation::hard_sigmoid: {
      const V line = fma(alpha, z, beta), low = line < zero ? zero : line;
      return low > one ? one : low;
    }
    case Activation::elu:  // exp(z) - 1 = tanh(z / 2) (exp(z) + 1), which is right next to 0
      return beta * (z > zero ? z : alpha * tanh(z / 2) * (exp(z) + one));
    case Activation::softsign:
      return z / (one + abs(z));
    case Activation::softplus:
      return relu(z) + log1p(exp(-abs(z)));
    case Activation::silu:
      return z * sigmoid(z);
    case Activation::exponential:
      return exp(z);
    case Activation::linear:
    case Activation::count:
      break;
  }
  return z;
}

// The derivative at z, where the value is y.
template <class V>
[[gnu::noinline]] constexpr V activation_slope(V kind, V alpha, V beta, V z, V y) {
  const V zero{}, one = zero + 1;
  switch (Activation(first_of(kind))) {
    case Activation::tanh:
      return tanh_slope(y);
    case Activation::sigmoid:
      return sigmoid_slope(y);
    case Activation::relu:
      return z > zero ? one : zero;
    case Activation::bounded_relu:
      return z > zero ? (z < alpha ? one : zero) : zero;
    case Activation::affine:
      return alpha;
    case Activation::leaky_relu:
      return z > zero ? one : alpha;
    case Activation::thresholded_relu:
      return z > alpha ? one : zero;
    case Activation::scaled_tanh:
      return alpha * beta * tanh_slope(tanh(beta * z));
    case Activation::hard_sigmoid:
      return y > zero ? (y < one ? alpha : zero) : zero;
    case Activation::elu:
      return beta * (z > zero ? one : alpha * exp(z));
    case Activation::softsign: {
      const V part = one / (one + abs(z));
      return part * part;
    }
    case Activation::softplus:
      return sigmoid(z);
    case Activation::silu: {
      const V s = sigmoid(z);
      return fma(y, one - s, s);
    }
    case Activation::exponential:
      return y;
    case Activation::linear:
    case Activation::count:
      break;
  }
  return one;
}

// A function's value and slope.
template <class V>
struct Point {
  V value, slope;
};

// What a cell calls by the names of three constants; CLIPPED: of what is cut off at +-clip, the cell's constant, as the
// recurrent operators of ONNX do it.
template <Name KIND, Name ALPHA, Name BETA, bool CLIPPED = true>
struct Chosen {
  template <class Io, class V>
  static constexpr V clipped(Io& io, V z) {
    if constexpr (CLIPPED) {
      const V clip = io[constant<"clip">], low = z < -clip ? -clip : z;
      return low > clip ? clip : low;
    } else {
      return z;
    }
  }
  template <class Io, class V>
  static constexpr V value(Io& io, V z) {
    return activate(V(io[constant<KIND>]), V(io[constant<ALPHA>]), V(io[constant<BETA>]), clipped(io, z));
  }
  template <class Io, class V>
  static constexpr Point<V> at(Io& io, V z) {
    const V kind = io[constant<KIND>], alpha = io[constant<ALPHA>], beta = io[constant<BETA>], c = clipped(io, z);
    const V y = activate(kind, alpha, beta, c), slope = activation_slope(kind, alpha, beta, c, y);
    if constexpr (CLIPPED) {
      const V clip = io[constant<"clip">], zero{};
      return {y, z > clip ? zero : z < -clip ? zero : slope};
    } else {
      return {y, slope};
    }
  }
};

// Of a cell with functions f, g and h, as ONNX calls them: f of the gates, g of what enters, h of what leaves. The
// examples are such that in the check of the gradients some numbers are cut off and others are not.
using FunctionF = Chosen<"f", "f_alpha", "f_beta">;
using FunctionG = Chosen<"g", "g_alpha", "g_beta">;
using FunctionH = Chosen<"h", "h_alpha", "h_beta", false>;
constexpr double number_of(Activation kind) { return int(kind); }
constexpr ConstantSpec f_kind{"f", number_of(Activation::silu)}, f_alpha{"f_alpha", 0.3}, f_beta{"f_beta", 0.45};
constexpr ConstantSpec g_kind{"g", number_of(Activation::softsign)}, g_alpha{"g_alpha", 0.7}, g_beta{"g_beta", 1.2};
constexpr ConstantSpec h_kind{"h", number_of(Activation::elu)}, h_alpha{"h_alpha", 0.6}, h_beta{"h_beta", 0.8};
constexpr ConstantSpec clip_bound{"clip", 0.45};

// Whether the slopes are those of the functions, at places that are no corner of any.
constexpr bool activation_slopes_agree() {
  for (int kind = 0; kind < int(Activation::count); ++kind)
    for (const double z : {-2.7, -0.8, -0.1, 0.2, 0.9, 2.3}) {
      constexpr double alpha = 0.4, beta = 0.7, eps = 1e-4;
      const auto value = [&](double at) { return activate<Number>(kind, alpha, beta, at).value; };
      const double slope = activation_slope<Number>(kind, alpha, beta, z, value(z)).value;
      const double off = slope - (value(z + eps) - value(z - eps)) / (2 * eps);
      if (off > 1e-6 || off < -1e-6) return false;
    }
  return true;
}

}  // namespace
}  // namespace pylstm::cells
