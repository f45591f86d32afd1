// Ending a call early: how Ctrl-C reaches a pass that runs for seconds.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "float_mode.h"
#include "fork.h"

namespace pylstm {

// Whether to go on, seen from the core: true ends the call. It is asked on the caller's thread, and may run anything:
// Python's signal handlers.
using Interrupted = bool (*)();

// Worker 0 runs on the caller's thread and asks now and then; the others learn of it where they meet (see Barrier), or
// at their next step where they never do.
class Interrupt {
 public:
  // By the caller, before the workers start. cycles: the cost model's estimate of the call, cut into `polls` parts.
  // Short calls never ask. workers: how many there are.
  Interrupt(Interrupted asks, double cycles, double polls, int workers)
      : asks_(cycles < short_call_cycles ? nullptr : asks),
        every_(std::max(1.0, polls * clock_cycles / cycles)),
        alone_(workers == 1) {}

  // By every worker, after each part; only worker 0 asks. Throws ForkedInCall.
  void poll(int worker) {
    if (worker != 0 || !asks_ || ++parts_ < every_) return;
    parts_ = 0;
    const auto now = Clock::now();
    if (now - last_ < interval) return;
    if (ask()) stop_.store(true, std::memory_order_relaxed);
    last_ = Clock::now();
  }

  bool stopped() const { return stop_.load(std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto interval = std::chrono::milliseconds(50);  // the GIL is needed to ask
  static constexpr double short_call_cycles = 3e7;                 // some 10 ms
  static constexpr double clock_cycles = 1e6;                      // from one look at the clock to the next

  bool ask() {
    const InFloatMode callers(mode_);  // handlers are the caller's code, and no worker
    const uint32_t forks = fork_count();
    const bool ends = asks_();
    if (!alone_ && fork_count() != forks) throw ForkedInCall();
    return ends;
  }

  const Interrupted asks_;
  const double every_;
  const bool alone_;
  const FloatMode::Bits mode_ = FloatMode::get();
  double parts_ = 0;
  Clock::time_point last_ = Clock::now();
  std::atomic<bool> stop_{false};
};

}  // namespace pylstm
