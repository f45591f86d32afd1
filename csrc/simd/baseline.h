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

inline f32v sqrt(f32v a) {
  return f32v{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
inline f64v sqrt(f64v a) { return f64v{__builtin_sqrt(a[0]), __builtin_sqrt(a[1])}; }

#include "simd/partial_loop.h"

}  // namespace
}  // namespace pylstm
