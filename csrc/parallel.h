// Threads: the only file that knows OpenMP. Without it (PYLSTM_OPENMP=OFF) everything runs on the caller's thread.
#pragma once

#include <atomic>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if !defined(_WIN32)
#include <sched.h>
#endif

namespace pylstm {

// Denormals cost some 150 cycles each on x86. Workers flush them to zero and leave the caller's mode as it was.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(get()) { set(saved_ | flush_bits); }
  ~FlushDenormals() { set(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE2__)
  using Mode = unsigned;
  static constexpr Mode flush_bits = 0x8040;  // FTZ, DAZ
  static Mode get() { return _mm_getcsr(); }
  static void set(Mode m) { _mm_setcsr(m); }
#elif defined(__aarch64__)
  using Mode = unsigned long;
  static constexpr Mode flush_bits = 1ul << 24;  // FZ
  static Mode get() {
    Mode m;
    asm volatile("mrs %0, fpcr" : "=r"(m));
    return m;
  }
  static void set(Mode m) { asm volatile("msr fpcr, %0" : : "r"(m)); }
#else
  using Mode = unsigned;
  static constexpr Mode flush_bits = 0;
  static Mode get() { return 0; }
  static void set(Mode) {}
#endif
  Mode saved_;
};

// Lets `size` threads meet. It spins, since a step of an RNN is microseconds long; threads that outnumber the cores
// give way after a while.
class Barrier {
 public:
  explicit Barrier(int size = 1) : size_(size) {}

  void wait() {
    if (size_ == 1) return;
    const int turn = turn_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins) {
      if (spins < 4096)
        pause();
      else
        yield();
    }
  }

 private:
  static void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  static void yield() {
#if !defined(_WIN32)
    sched_yield();
#endif
  }

  int size_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> turn_{0};
};

// Runs f(0) ... f(threads - 1), each on a thread of its own, so that they may meet at a Barrier. Where the runtime
// gives fewer threads, nothing has run and the number it can give is returned: plan again with that. f must not throw.
template <class F>
int parallel(int threads, const F& f) {
#if defined(_OPENMP)
  if (threads > 1) {
    int got = threads;
#pragma omp parallel num_threads(threads)
    {
      if (omp_get_num_threads() == threads) {
        const FlushDenormals flush;
        f(omp_get_thread_num());
      } else if (omp_get_thread_num() == 0) {
        got = omp_get_num_threads();
      }
    }
    return got;
  }
#else
  if (threads > 1) return 1;
#endif
  const FlushDenormals flush;
  f(0);
  return 1;
}

// What the OpenMP runtime would use by itself: OMP_NUM_THREADS, omp_set_num_threads, threadpoolctl.
inline int runtime_threads() {
#if defined(_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// A child made by fork() has none of the runtime's threads, but libgomp would wait for them: let them go before the
// fork. The next parallel region starts new ones.
inline void pause_threads() {
#if defined(_OPENMP) && (_OPENMP >= 201811 || !defined(__clang__))  // libgomp has had it for longer than it says
  omp_pause_resource_all(omp_pause_soft);
#endif
}

inline constexpr bool has_openmp =
#if defined(_OPENMP)
    true;
#else
    false;
#endif

}  // namespace pylstm
