// A number with the functions that a cell may use, for running a cell's arithmetic while compiling.
#pragma once

namespace pylstm::cells {
namespace {

struct Number {
  double value = 0;

  constexpr Number() = default;
  constexpr Number(double v) : value(v) {}
  constexpr Number operator-() const { return -value; }

  friend constexpr Number operator+(Number a, Number b) { return a.value + b.value; }
  friend constexpr Number operator-(Number a, Number b) { return a.value - b.value; }
  friend constexpr Number operator*(Number a, Number b) { return a.value * b.value; }
  friend constexpr Number operator/(Number a, Number b) { return a.value / b.value; }
  friend constexpr bool operator>(Number a, Number b) { return a.value > b.value; }
  friend constexpr bool operator<(Number a, Number b) { return a.value < b.value; }
  friend constexpr bool operator!=(Number a, Number b) { return a.value != b.value; }

  friend constexpr Number fma(Number a, Number b, Number c) { return a * b + c; }
  friend constexpr Number exp(Number x) {  // (1 + x / 1024 + ..)^1024
    const double u = x.value / 1024;
    double y = 1 + u * (1 + u / 2 * (1 + u / 3 * (1 + u / 4)));
    for (int i = 0; i < 10; ++i) y *= y;
    return y;
  }
  friend constexpr Number sigmoid(Number x) { return 1 / (1 + exp(-x)); }
  friend constexpr Number tanh(Number x) { return 2 * sigmoid(2 * x) - 1; }
  friend constexpr Number sqrt(Number x) {  // Newton
    double y = x.value > 1 ? x.value : 1;
    for (int i = 0; i < 40 && y * y > x.value; ++i) y = 0.5 * (y + x.value / y);
    return y;
  }
  friend constexpr Number rsqrt(Number x) { return 1 / sqrt(x); }
  friend constexpr Number abs(Number x) { return x < 0 ? -x : x; }
  friend constexpr Number relu(Number x) { return x > 0 ? x : 0; }
  friend constexpr Number log1p(Number u) {  // 2 artanh(u / (2 + u)), for u in 0..1
    const double w = u.value / (2 + u.value), w2 = w * w;
    double sum = 0;
    for (int k = 17; k >= 0; --k) sum = sum * w2 + 1. / (2 * k + 1);
    return 2 * w * sum;
  }
  friend constexpr int first_of(Number x) { return int(x.value); }
  friend constexpr Number sigmoid_slope(Number y) { return y - y * y; }
  friend constexpr Number tanh_slope(Number y) { return 1 - y * y; }
};

}  // namespace
}  // namespace pylstm::cells
