// vec<T>: one SIMD register of T, in whatever width the ISA header of this translation unit chose.
//
// The type is the compiler's own vector extension (GCC and Clang), so + - * / < ?: and casts to the integer vector of
// the same width work as they stand. Only what the language cannot say has a named function, and those that differ
// between ISAs (fma, partial loads and stores) come from PYLSTM_ISA_HEADER, set by the build: no #if ladder here.
//
// Everything lives in an unnamed namespace: each ISA is a copy of its own, and the linker never has a weak symbol that
// it could take from the AVX-512 object for a machine without AVX-512.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include PYLSTM_ISA_HEADER

namespace pylstm {
namespace {

// Specialised by hand: GCC 12 mishandles vector_size on dependent types.
template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  using type = f32v;
};
template <>
struct VecOf<double> {
  using type = f64v;
};
template <class T>
using vec = typename VecOf<T>::type;

// The scalar and the integer vector that belong to a vector.
template <class V>
struct VecTraits;
template <>
struct VecTraits<f32v> {
  using scalar = float;
  using bits = i32v;
  using scalar_bits = int32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr int exponent_bias = 127;
};
template <>
struct VecTraits<f64v> {
  using scalar = double;
  using bits = i64v;
  using scalar_bits = int64_t;
  static constexpr int mantissa_bits = 52;
  static constexpr int exponent_bias = 1023;
};
template <class V>
using scalar_of = typename VecTraits<V>::scalar;
template <class V>
using bits_of = typename VecTraits<V>::bits;

template <class T>
inline constexpr int lanes = VEC_BYTES / static_cast<int>(sizeof(T));

// Unaligned full-width load and store; memcpy of a known size is one move instruction.
template <class T>
inline vec<T> load(const T* p) {
  vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}

// Whole vectors where n leaves room for them.
template <class T>
inline vec<T> load_some(const T* p, ptrdiff_t n) {
  return n >= lanes<T> ? load(p) : load_partial(p, n);
}
template <class T>
inline void store_some(T* p, vec<T> v, ptrdiff_t n) {
  n >= lanes<T> ? store(p, v) : store_partial(p, v, n);
}

template <class V>
inline V splat(scalar_of<V> s) {
  return s - V{};  // every compiler turns this into one broadcast; -0.0 and NaN survive s - 0
}

// Sign bit alone, and everything but the sign bit.
template <class V>
inline bits_of<V> sign_bit() {
  using I = typename VecTraits<V>::scalar_bits;
  return bits_of<V>{} + static_cast<I>(I(1) << (8 * sizeof(I) - 1));
}

}  // namespace
}  // namespace pylstm
