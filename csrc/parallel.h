// Threads: the only file that starts any. Without OpenMP (PYLSTM_OPENMP=OFF) everything runs on the caller's thread.
//
// OpenMP says how many (OMP_NUM_THREADS, omp_set_num_threads, threadpoolctl); the threads are our own, since libgomp's
// end the process where one cannot be started (limits on address space, processes or stack), and never end a call in
// a child that was forked in the middle of it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "float_mode.h"
#include "interrupt.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace pylstm {

// One turn after the other of waiting for another thread, which is about to do what is waited for. Where it does not
// come, somebody else has its core: others may have this one, then, and before long the thread sleeps between looks.
class Spin {
 public:
  Spin() = default;
  Spin(const Spin&) = delete;
  Spin& operator=(const Spin&) = delete;
  ~Spin() {
    if (late()) tell_waited();
  }
  void turn() {
    if (turns_ < patient_turns)
      ++turns_, pause();
    else
      give_way();
  }
  bool late() const { return turns_ == patient_turns; }
  // Since it was late.
  std::chrono::steady_clock::duration waited() const {
    return late() && given_way_ ? std::chrono::steady_clock::now() - since_ : std::chrono::steady_clock::duration();
  }

 private:
  static constexpr int patient_turns = 4096;  // some 0.1 to 0.3 ms

  static void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  void give_way();
  void tell_waited() const;

  int turns_ = 0;
  bool given_way_ = false;
  std::chrono::steady_clock::time_point since_;
};

// Lets `size` threads meet: a dissemination barrier (Hensgen, Finkel and Manber 1988). In round k, member i tells
// member i + 2^k that it has arrived, and what it has heard; after log2(size) rounds all have heard of all. Two threads
// meet by one write and one read each, where a shared counter takes three transfers of a cache line one after the
// other.
//
// It spins, since a step of an RNN is microseconds long; threads that outnumber the cores give way after a while
// (Spin).
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
    uint32_t heard = 0;
    const auto said = [&] { return ((heard = message.load(std::memory_order_acquire)) & ~1u) == expected; };
    for (Spin spin; !said();) spin.turn();
    return heard & 1;
  }

  const int size_, rounds_;
  const Interrupt& interrupt_;
  std::vector<Slot> slots_;  // [turn & 1][round][member]
  std::vector<Turn> turns_;  // of every member
};

// Pieces of work of about one size. Every worker has a share of them, takes those one after the other, and then what
// others have left: cores are not equally fast, least of all those of a hybrid processor, or where somebody else has a
// part of one. With another process on one of two cores the head of a vocabulary takes 0.86 to 0.96 of the time.
class Pieces {
 public:
  // ends: where the share of each worker ends, and that of the next one begins.
  explicit Pieces(const std::vector<ptrdiff_t>& ends) : shares_(ends.size()) {
    for (size_t i = 0; i < ends.size(); ++i) {
      shares_[i].next.store(i ? ends[i - 1] : 0, std::memory_order_relaxed);
      shares_[i].end = ends[i];
    }
  }
  // Each piece goes to one worker. -1: there is none left.
  ptrdiff_t take(int id) {
    const size_t count = shares_.size();
    for (size_t i = 0; i < count; ++i) {
      Left& left = shares_[(size_t(id) + i) % count];
      if (left.next.load(std::memory_order_relaxed) >= left.end) continue;
      if (const ptrdiff_t piece = left.next.fetch_add(1, std::memory_order_relaxed); piece < left.end) return piece;
    }
    return -1;
  }

 private:
  struct alignas(64) Left {
    std::atomic<ptrdiff_t> next{0};
    ptrdiff_t end = 0;
  };
  std::vector<Left> shares_;
};

// `parallel` with more than one thread.
using Job = void (*)(const void* f, int id);
int run_on_pool(int threads, Job job, const void* f);

// Runs f(0) ... f(threads - 1), each on a thread of its own, so that they may meet at a Barrier. Where fewer threads
// can be had, nothing has run and the number of those is returned: plan again with that. f must not throw, but for f(0)
// ForkedInCall.
template <class F>
int parallel(int threads, const F& f) {
  if (threads > 1) return run_on_pool(threads, [](const void* g, int id) { (*static_cast<const F*>(g))(id); }, &f);
  const FlushDenormals flush;
  f(0);
  return 1;
}

// As many of these threads as the next job of the caller's thread should have: one while others have the cores, so that
// its threads wait for each other more than they work. Every now and then all are tried again.
int threads_now(int threads);

// What the OpenMP runtime would use by itself: OMP_NUM_THREADS, OMP_THREAD_LIMIT, omp_set_num_threads, threadpoolctl.
inline int runtime_threads() {
#if defined(_OPENMP)
  const int most = omp_get_max_threads(), limit = omp_get_thread_limit();
  return most < limit ? most : limit;
#else
  return 1;
#endif
}

inline constexpr bool has_openmp =
#if defined(_OPENMP)
    true;
#else
    false;
#endif

}  // namespace pylstm
