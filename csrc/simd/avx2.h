// AVX2 + FMA: 256-bit vectors, 16 registers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define PYLSTM_ISA_NAME avx2

namespace pylstm {
namespace {

constexpr int VEC_BYTES = 32;
// Rows of a register tile of four columns: 3 x 4 accumulators + 1 weight + 3 broadcasts fill 16 registers.
constexpr int TILE_ROWS = 3;

typedef float f32v __attribute__((vector_size(32)));
typedef double f64v __attribute__((vector_size(32)));
typedef int32_t i32v __attribute__((vector_size(32)));
typedef int64_t i64v __attribute__((vector_size(32)));

inline f32v fma(f32v a, f32v b, f32v c) { return (f32v)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
inline f64v fma(f64v a, f64v b, f64v c) { return (f64v)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
inline f32v sqrt(f32v a) { return (f32v)_mm256_sqrt_ps((__m256)a); }
inline f64v sqrt(f64v a) { return (f64v)_mm256_sqrt_pd((__m256d)a); }

// The first n lanes, 0 <= n <= lanes; the others read as 0 and are not touched in memory.
inline i32v lane_mask32(ptrdiff_t n) { return i32v{0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n; }
inline i64v lane_mask64(ptrdiff_t n) { return i64v{0, 1, 2, 3} < (int64_t)n; }
inline f32v load_partial(const float* p, ptrdiff_t n) { return (f32v)_mm256_maskload_ps(p, (__m256i)lane_mask32(n)); }
inline f64v load_partial(const double* p, ptrdiff_t n) { return (f64v)_mm256_maskload_pd(p, (__m256i)lane_mask64(n)); }
inline void store_partial(float* p, f32v v, ptrdiff_t n) { _mm256_maskstore_ps(p, (__m256i)lane_mask32(n), (__m256)v); }
inline void store_partial(double* p, f64v v, ptrdiff_t n) {
  _mm256_maskstore_pd(p, (__m256i)lane_mask64(n), (__m256d)v);
}

}  // namespace
}  // namespace pylstm
