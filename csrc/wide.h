// Sums of a vector's lanes as doubles, whatever its type.
#pragma once

#include "simd/vec.h"

namespace pylstm {
namespace {

// A vector's numbers as doubles, to be added up without loss.
template <class T>
struct Wide;
template <>
struct Wide<double> {
  f64v sum = {};
  void add(f64v v) { sum = sum + v; }
  void add(f64v v, double factor) { sum = sum + v * factor; }
  void add_square(f64v v) { sum = sum + v * v; }
  void write(double* to) const { store(to, sum); }
};
template <>
struct Wide<float> {
  typedef float half __attribute__((vector_size(VEC_BYTES / 2)));
  f64v low = {}, high = {};

  static f64v low_of(f32v v) {
    half h;
    std::memcpy(&h, &v, sizeof h);
    return __builtin_convertvector(h, f64v);
  }
  static f64v high_of(f32v v) {
    half h;
    std::memcpy(&h, reinterpret_cast<const char*>(&v) + sizeof h, sizeof h);
    return __builtin_convertvector(h, f64v);
  }
  void add(f32v v) { low = low + low_of(v), high = high + high_of(v); }
  void add(f32v v, double factor) { low = low + low_of(v) * factor, high = high + high_of(v) * factor; }
  void add_square(f32v v) { low = low + low_of(v) * low_of(v), high = high + high_of(v) * high_of(v); }
  void write(double* to) const { store(to, low), store(to + lanes<double>, high); }
};

}  // namespace
}  // namespace pylstm
