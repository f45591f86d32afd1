// AVX-512 (F, BW, DQ, VL): 512-bit vectors, 32 registers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define PYLSTM_ISA_NAME avx512

namespace pylstm {
namespace {

constexpr int VEC_BYTES = 64;
// Rows of a register tile of four columns: 6 x 4 accumulators + 4 weights + broadcasts of 32 registers.
constexpr int TILE_ROWS = 6;

typedef float f32v __attribute__((vector_size(64)));
typedef double f64v __attribute__((vector_size(64)));
typedef int32_t i32v __attribute__((vector_size(64)));
typedef int64_t i64v __attribute__((vector_size(64)));

inline f32v fma(f32v a, f32v b, f32v c) { return (f32v)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
inline f64v fma(f64v a, f64v b, f64v c) { return (f64v)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
inline f32v sqrt(f32v a) { return (f32v)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)a); }
inline f64v sqrt(f64v a) { return (f64v)_mm512_maskz_sqrt_pd((__mmask8)-1, (__m512d)a); }

// The first n lanes, 0 <= n <= lanes; the others read as 0 and are not touched in memory.
inline f32v load_partial(const float* p, ptrdiff_t n) {
  return (f32v)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
inline f64v load_partial(const double* p, ptrdiff_t n) {
  return (f64v)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
inline void store_partial(float* p, f32v v, ptrdiff_t n) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
inline void store_partial(double* p, f64v v, ptrdiff_t n) {
  _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}

}  // namespace
}  // namespace pylstm
