// Threads: the only file that knows OpenMP. Without it (PYLSTM_OPENMP=OFF) everything runs on the caller's thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "interrupt.h"

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

// Lets `size` threads meet: a dissemination barrier (Hensgen, Finkel and Manber 1988). In round k, member i tells
// member i + 2^k that it has arrived, and what it has heard; after log2(size) rounds all have heard of all. Two threads
// meet by one write and one read each, where a shared counter takes three transfers of a cache line one after the
// other.
//
// It spins, since a step of an RNN is microseconds long; threads that outnumber the cores give way after a while.
class Barrier {
 public:
  Barrier(int size, const Interrupt& interrupt)
      : size_(size), rounds_(rounds(size)), interrupt_(interrupt), turns_(size_t(size)) {
    slots_ = std::vector<Slot>(size_t(2 * rounds_ * size));
  }

  // log2(size), rounded up.
  static int rounds(int size) {
    int count = 0;
    while (size > 1 << count) ++count;
    return count;
  }

  // By every member with its own number. Whether to go on: no, for all of them, if one knew on arrival of an
  // interrupt.
  [[nodiscard]] bool wait(int member) {
    bool stop = interrupt_.stopped();
    if (size_ == 1) return !stop;
    const uint32_t turn = ++turns_[size_t(member)].value;
    for (int round = 0, distance = 1; round < rounds_; ++round, distance *= 2) {
      // Two sets in turn: a member that is late still reads the message of this turn while others are in the next.
      Slot* const set = slots_.data() + ((turn & 1) * rounds_ + round) * size_;
      set[(member + distance) % size_].message.store(2 * turn + stop, std::memory_order_release);
      stop = listen(set[member].message, 2 * turn) || stop;
    }
    return !stop;
  }

 private:
  struct alignas(64) Slot {
    std::atomic<uint32_t> message{0};  // 2 * turn, + 1: stop
  };
  struct alignas(64) Turn {
    uint32_t value = 0;
  };

  static bool listen(const std::atomic<uint32_t>& message, uint32_t expected) {
    for (int spins = 0;; ++spins) {
      const uint32_t heard = message.load(std::memory_order_acquire);
      if ((heard & ~1u) == expected) return heard & 1;
      if (spins < 4096)
        pause();
      else
        yield();
    }
  }
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

  const int size_, rounds_;
  const Interrupt& interrupt_;
  std::vector<Slot> slots_;  // [turn & 1][round][member]
  std::vector<Turn> turns_;  // of every member
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
