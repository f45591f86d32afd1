// AArch64: NEON is its baseline; 128-bit vectors, 32 registers, FMA.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#define PYLSTM_ISA_NAME neon

namespace pylstm {
namespace {

constexpr int VEC_BYTES = 16;
// Rows of a register tile of four columns: 6 x 4 accumulators of 32 registers.
constexpr int TILE_ROWS = 6;

typedef float f32v __attribute__((vector_size(16)));
typedef double f64v __attribute__((vector_size(16)));
typedef int32_t i32v __attribute__((vector_size(16)));
typedef int64_t i64v __attribute__((vector_size(16)));

inline f32v fma(f32v a, f32v b, f32v c) { return (f32v)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
inline f64v fma(f64v a, f64v b, f64v c) { return (f64v)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
inline f32v sqrt(f32v a) { return (f32v)vsqrtq_f32((float32x4_t)a); }
inline f64v sqrt(f64v a) { return (f64v)vsqrtq_f64((float64x2_t)a); }

#include "simd/partial_loop.h"

}  // namespace
}  // namespace pylstm
