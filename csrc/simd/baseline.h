// x86-64-v2 (SSE4.2), and any other machine without an ISA header of its own: 128-bit vectors, no FMA.
#pragma once

#include <cstddef>
#include <cstdint>

#define PYLSTM_ISA_NAME baseline

namespace pylstm {
namespace {

constexpr int VEC_BYTES = 16;
// Rows of a register tile of four columns: 3 x 4 accumulators + 1 weight + 3 broadcasts fill 16 registers.
constexpr int TILE_ROWS = 3;

typedef float f32v __attribute__((vector_size(16)));
typedef double f64v __attribute__((vector_size(16)));
typedef int32_t i32v __attribute__((vector_size(16)));
typedef int64_t i64v __attribute__((vector_size(16)));

// No fused instruction: two roundings. This is the one place where results differ from the FMA machines.
inline f32v fma(f32v a, f32v b, f32v c) { return a * b + c; }
inline f64v fma(f64v a, f64v b, f64v c) { return a * b + c; }

// The first n lanes, 0 <= n <= lanes; the others read as 0. Only the last block of a row comes here.
template <class V, class T>
inline V load_lanes(const T* p, ptrdiff_t n) {
  T lane[VEC_BYTES / sizeof(T)] = {};
  for (ptrdiff_t i = 0; i < n; ++i) lane[i] = p[i];
  V v;
  __builtin_memcpy(&v, lane, sizeof v);
  return v;
}
template <class V, class T>
inline void store_lanes(T* p, V v, ptrdiff_t n) {
  T lane[VEC_BYTES / sizeof(T)];
  __builtin_memcpy(lane, &v, sizeof v);
  for (ptrdiff_t i = 0; i < n; ++i) p[i] = lane[i];
}
inline f32v load_partial(const float* p, ptrdiff_t n) { return load_lanes<f32v>(p, n); }
inline f64v load_partial(const double* p, ptrdiff_t n) { return load_lanes<f64v>(p, n); }
inline void store_partial(float* p, f32v v, ptrdiff_t n) { store_lanes(p, v, n); }
inline void store_partial(double* p, f64v v, ptrdiff_t n) { store_lanes(p, v, n); }

}  // namespace
}  // namespace pylstm
