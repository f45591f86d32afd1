// The floating-point mode of a thread: what happens to denormals.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace pylstm {

// The mode that the thread is in, to go back to.
class FloatMode {
 public:
#if defined(__SSE2__)
  using Bits = unsigned;
  static constexpr Bits flush_bits = 0x8040;  // FTZ, DAZ
  static Bits get() { return _mm_getcsr(); }
  static void set(Bits bits) { _mm_setcsr(bits); }
#elif defined(__aarch64__)
  using Bits = unsigned long;
  static constexpr Bits flush_bits = 1ul << 24;  // FZ
  static Bits get() {
    Bits bits;
    asm volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
  }
  static void set(Bits bits) { asm volatile("msr fpcr, %0" : : "r"(bits)); }
#else
  using Bits = unsigned;
  static constexpr Bits flush_bits = 0;
  static Bits get() { return 0; }
  static void set(Bits) {}
#endif
};

// In a mode while it lives; the one before comes back.
class InFloatMode {
 public:
  explicit InFloatMode(FloatMode::Bits bits) : before_(FloatMode::get()) { FloatMode::set(bits); }
  ~InFloatMode() { FloatMode::set(before_); }
  InFloatMode(const InFloatMode&) = delete;
  InFloatMode& operator=(const InFloatMode&) = delete;

 private:
  const FloatMode::Bits before_;
};

// Denormals cost some 150 cycles each on x86. Workers flush them to zero and leave the caller's mode as it was.
class FlushDenormals : InFloatMode {
 public:
  FlushDenormals() : InFloatMode(FloatMode::get() | FloatMode::flush_bits) {}
};

}  // namespace pylstm
