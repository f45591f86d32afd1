// exp, tanh and sigmoid on one SIMD register of float or double: one algorithm for every ISA, no table, no libm, no
// branch, at most one division. Every multiply-add is written fma(): AVX2 and AVX-512, GCC and Clang give the same
// bits. The baseline rounds twice in fma(), so its last bits and its errors are its own.
//
// Largest error found, in ulp (for denormal results: of the denormal spacing). float: all 2^32 inputs. double: 2 10^8
// samples, against the 80-bit long double of glibc.
//
//               float, FMA   float, baseline   double, FMA   double, baseline
//     tanh         1.75           1.68             1.87            1.81
//     sigmoid      2.00           2.00             2.00            2.00         (1.9991, 1.9995)
//     exp          0.90           1.17             1.01            1.33
//
// NaN gives NaN, +-inf the limits; tanh(-0) is -0 and sigmoid(+-0) exactly 1/2; denormal inputs and results are right.
// Under FTZ/DAZ denormal results become 0 and nothing else changes. Rounding mode: to nearest.
//
// Measured (AMD Zen 5, GCC 12 -O3, AVX-512, data in L1): ns per element; "cell" is an LSTM cell without its products:
// 3 sigmoid and 2 tanh. Errors of what was tried are maxima over a sample, float.
//
//                                                      float: tanh  sigmoid  cell    double: tanh  sigmoid  cell
//     this file                                              0.146    0.110  0.784          0.433    0.335  2.24
//     this file, AVX2                                        0.248    0.218  1.40           0.737    0.655  4.07
//     clamps with visible constants                          0.147    0.140  0.869          0.422    0.398  2.39
//     pairs in x^2 for the short polynomials, too            0.156    0.115  0.828
//     Horner for the long polynomials, too                                                  0.444    0.355  2.32
//     sigmoid: exp(-|x|), selected numerator (2.2 ulp)                0.157  0.938                   0.431  2.61
//     tanh: polynomial or 1 - 2 / (1 + exp(2x)) (1.3 ulp)    0.187           0.918          0.585           2.89
//     tanh: n to nearest, den apart from num (2.4 ulp)       0.134           0.737          0.387           2.10
//     tanh: x P(x^2) / Q(x^2), both of degree 4 (5.4 ulp)    0.088           0.597
//     this file, 2 registers per turn, -fschedule-insns      0.143    0.108  0.607          0.397    0.319  2.08
//
// Division is not the limit: a multiplication in its place saves 7 %.
#pragma once

#include "simd/vec.h"

namespace pylstm {
namespace {

// Coefficients: minimax fits made for this file (Lawson iteration in 60 digits), rounded one at a time from the lowest
// order up, the others fitted again after each rounding.
//
// ln2_hi has so few bits that n * ln2_hi is exact for every n that occurs, also without fma. float ln 2 happens to end
// in three zero bits and to be right to 28, so tanh, where |n| is small, needs no low part.
template <class T>
struct MathConst;
template <>
struct MathConst<float> {
  static constexpr float log2e = 0x1.715476p+0f;
  static constexpr float ln2_hi = 0x1.62e4p-1f, ln2_lo = 0x1.7f7d1cp-20f;
  static constexpr float half_ln2_hi = 0x1.62e43p-2f, half_ln2_lo = 0;
  static constexpr float to_integer = 0x1.8p23f;  // x + to_integer rounds x to an integer, which is in the low bits
  static constexpr float exp_min = -104, exp_max = 89;  // exp(exp_min) rounds to 0, exp(exp_max) overflows
  static constexpr float sigmoid_max = 40;              // sigmoid is 1 from 17.4 on
  static constexpr int sigmoid_shift = 30;              // 150 - 30 and -58 - 30 are exponents of normal numbers
  static constexpr float tanh_max = 10;                 // tanh is 1 from 9.02 on
  // (exp(-u) - 1) / u on |u| <= ln(2) / 2: 2^-28.2 of exp(-u).
  static constexpr float expm1[] = {-0x1p0f,        0x1.fffffcp-2f,  -0x1.555492p-3f,
                                    0x1.5558bap-5f, -0x1.1239c4p-7f, 0x1.6a43cap-10f};
  // (tanh(r) / r - 1) / r^2 as a polynomial in r^2 on |r| <= 3/8 ln(2): 2^-27.8 of tanh(r).
  static constexpr float tanh[] = {-0x1.555504p-2f, 0x1.10d86ap-3f, -0x1.a37aecp-5f};
};
template <>
struct MathConst<double> {
  static constexpr double log2e = 0x1.71547652b82fep+0;
  static constexpr double ln2_hi = 0x1.62e42fefa38p-1, ln2_lo = 0x1.ef35793c7673p-45;
  static constexpr double half_ln2_hi = ln2_hi / 2, half_ln2_lo = ln2_lo / 2;
  static constexpr double to_integer = 0x1.8p52;
  static constexpr double exp_min = -746, exp_max = 710;
  static constexpr double sigmoid_max = 40;
  static constexpr int sigmoid_shift = 60;
  static constexpr double tanh_max = 20;
  // As above: 2^-57.9 and 2^-56.8.
  static constexpr double expm1[] = {-0x1p0,
                                     0x1.000000000000ap-1,
                                     -0x1.5555555555502p-3,
                                     0x1.55555555506a6p-5,
                                     -0x1.11111111261fdp-7,
                                     0x1.6c16c18484f33p-10,
                                     -0x1.a01a0131ea1cap-13,
                                     0x1.a019992199d35p-16,
                                     -0x1.71df15b7ad432p-19,
                                     0x1.28ae48bee7609p-22,
                                     -0x1.ad974c74a4bfcp-26};
  static constexpr double tanh[] = {-0x1.55555555554a8p-2, 0x1.11111110f14fcp-3,  -0x1.ba1ba17b135efp-5,
                                    0x1.664f2acf124ebp-6,  -0x1.2266b4b039e97p-7, 0x1.d4bc2d78e878ep-9,
                                    -0x1.5680ec3a38c0fp-10};
};

// A constant whose value the compiler cannot see. GCC 12 makes one min or max of the clamps below only if neither
// operand is a visible constant, else a comparison and a blend, which makes sigmoid 27 % slower. Loops still hoist it.
template <class V>
inline V opaque(scalar_of<V> s) {
  typename VecTraits<V>::scalar_bits b;
  std::memcpy(&b, &s, sizeof b);
  __asm__("" : "+r"(b));
  return (V)(bits_of<V>{} + b);
}

// Clamps that hand on NaN.
template <class V>
inline V at_least(scalar_of<V> low, V x) {
  const V c = opaque<V>(low);
  return x < c ? c : x;
}
template <class V>
inline V at_most(scalar_of<V> high, V x) {
  const V c = opaque<V>(high);
  return x > c ? c : x;
}

// c[0] + c[1] x + c[2] x^2 + ... Short ones by Horner, fewest instructions; long ones as a Horner scheme in x^2 of
// pairs, half the latency for one multiplication.
template <class V, int N>
inline V polynomial(V x, const scalar_of<V> (&c)[N]) {
  V y = splat<V>(c[N - 1]);
  if constexpr (N <= 6) {
    for (int i = N - 2; i >= 0; --i) y = fma(y, x, splat<V>(c[i]));
  } else {
    const V x2 = x * x;
    if constexpr (N % 2 == 0) y = fma(y, x, splat<V>(c[N - 2]));
    for (int i = (N - 1) / 2 * 2 - 2; i >= 0; i -= 2) y = fma(y, x2, fma(splat<V>(c[i + 1]), x, splat<V>(c[i])));
  }
  return y;
}

// exp(x) = 2^n exp(-u), n = round(x / ln 2), u = n ln 2 - x, |u| <= ln(2) / 2. The float nearest to x / ln 2 +
// to_integer holds n in its low bits; to_integer carries twice the exponent bias, and 2^n is applied as two factors,
// 2^floor(n/2) and 2^ceil(n/2): results that overflow or are denormal need no case of their own, and the last product
// rounds once.
template <class V>
inline V exp(V x) {
  using C = MathConst<scalar_of<V>>;
  constexpr int mantissa = VecTraits<V>::mantissa_bits, bias = VecTraits<V>::exponent_bias;
  constexpr auto to_integer = C::to_integer + 2 * bias;
  x = at_least(C::exp_min, at_most(C::exp_max, x));
  const V t = fma(x, splat<V>(C::log2e), splat<V>(to_integer)), n = t - to_integer;
  const V u = fma(n, splat<V>(C::ln2_lo), fma(n, splat<V>(C::ln2_hi), -x));
  const V p = fma(u, polynomial(u, C::expm1), splat<V>(1));
  const auto b = (bits_of<V>)t;
  return p * (V)((b & ~1) << (mantissa - 1)) * (V)(((b + 1) & ~1) << (mantissa - 1));
}

// sigmoid(x) = k / (k + k exp(-x)) with k = 2^-sigmoid_shift: then no intermediate overflows where the result is
// denormal, and the division rounds that once. exp(-x) = 2^n exp(-u) = s / k (1 + u q(u)) with u = x + n ln 2.
//
// The sum s + s u q + k is taken in the order that has the least error, 2.0 ulp at most by construction (worst next to
// 0 from below). Both k + s first and s (1 + u q) first are inexact once more where s / k = 2^24 or 2^53: 2.24 ulp.
template <class V>
inline V sigmoid(V x) {
  using C = MathConst<scalar_of<V>>;
  constexpr int mantissa = VecTraits<V>::mantissa_bits, bias = VecTraits<V>::exponent_bias;
  constexpr auto to_integer = C::to_integer + (bias - C::sigmoid_shift);
  constexpr auto k = scalar_of<V>(1) / (int64_t(1) << C::sigmoid_shift);
  x = at_least(C::exp_min, at_most(C::sigmoid_max, x));
  const V t = fma(x, splat<V>(-C::log2e), splat<V>(to_integer)), n = t - to_integer;
  const V u = fma(n, splat<V>(C::ln2_lo), fma(n, splat<V>(C::ln2_hi), x));
  const V s = (V)((bits_of<V>)t << mantissa);
  return k / (fma(s * u, polynomial(u, C::expm1), splat<V>(k)) + s);
}

// tanh by its addition theorem. |x| = n ln(2) / 2 + r, t = tanh(r) = r + r^3 q(r^2), and tanh(n ln(2) / 2) =
// (2^n - 1) / (2^n + 1), so with h = 2^n / 2
//
//     tanh|x| = num / den,   num = t (h + 1/2) + (h - 1/2),   den = t (h - 1/2) + (h + 1/2) = num + (1 - t).
//
// n = 0 gives exactly t / 1, hence no second polynomial and no selection for small |x|. den is taken from the rounded
// num: the error of num then hits both and falls out of the quotient (2.4 ulp without). n = floor(2 |x| / ln 2 + 1/4),
// from a sum with one fractional bit that is then cleared: r in [-1/8, 3/8] ln 2, because n = 1 is least accurate at
// its lower end (2.3 ulp with n to nearest, 2.7 without FMA).
template <class V>
inline V tanh(V x) {
  using C = MathConst<scalar_of<V>>;
  constexpr int mantissa = VecTraits<V>::mantissa_bits, bias = VecTraits<V>::exponent_bias;
  constexpr auto to_half = C::to_integer / 2 + (bias - 1);
  constexpr auto half = scalar_of<V>(0.5);
  const auto sign = (bits_of<V>)x & sign_bit<V>();
  const V a = at_most(C::tanh_max, (V)((bits_of<V>)x & ~sign_bit<V>()));
  const auto b = (bits_of<V>)fma(a, splat<V>(2 * C::log2e), splat<V>(to_half)) & ~1;
  const V n = (V)b - to_half, h = (V)(b << (mantissa - 1));
  V r = fma(n, splat<V>(-C::half_ln2_hi), a);
  if constexpr (C::half_ln2_lo != 0) r = fma(n, splat<V>(-C::half_ln2_lo), r);
  const V r2 = r * r, t = fma(r * r2, polynomial(r2, C::tanh), r);
  const V num = fma(t, h + half, h - half), den = num + (1 - t);
  return (V)((bits_of<V>)(num / den) | sign);
}

template <class V>
inline V relu(V x) {
  return x > V{} ? x : x != x ? x : V{};  // NaN stays NaN
}

// Rounded twice: the root, then its reciprocal.
template <class V>
inline V rsqrt(V x) {
  return splat<V>(1) / sqrt(x);
}
template <class V>
inline V abs(V x) {
  return (V)((bits_of<V>)x & ~sign_bit<V>());
}

// log(1 + u) for u in 0..1: 2 artanh(w) = 2 (w + w^3 / 3 + w^5 / 5 ..), w = u / (2 + u) <= 1 / 3. The first term left
// out is below 2^-29 of the sum in float, and 2^-62 in double.
template <class V>
inline V log1p(V u) {
  constexpr int terms = sizeof(scalar_of<V>) == 4 ? 8 : 18;
  const V w = u / (u + 2), w2 = w * w;
  V sum{};
  for (int k = terms - 1; k > 0; --k) sum = fma(sum, w2, splat<V>(scalar_of<V>(1) / (2 * k + 1)));
  return 2 * fma(sum * w2, w, w);
}

// A number in all lanes that is an integer.
template <class V>
inline int first_of(V x) {
  return int(x[0]);
}

// Derivatives, from the value of the function.
template <class V>
inline V sigmoid_slope(V y) {
  return fma(-y, y, y);
}
template <class V>
inline V tanh_slope(V y) {
  return fma(-y, y, splat<V>(1));
}

}  // namespace
}  // namespace pylstm
