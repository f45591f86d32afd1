// What fork() leaves of other threads' work in the child: nothing but what they had half done.
//
// No lock of this library is ever waited for, so a child cannot wait for a thread that it does not have, and no hook
// of fork() has to hold one while other libraries' hooks run.
#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>

namespace pylstm {

// How many forks lie between the first process and this one.
uint32_t fork_count();

// In a child that a signal handler forked in the middle of a call: the call's other threads are not there.
class ForkedInCall : public std::runtime_error {
 public:
  ForkedInCall()
      : std::runtime_error(
            "this process was forked by a signal handler in the middle of a call, and the threads of that call are not "
            "in it: the call ends here, later ones work") {}
};

// A lock that nobody waits for: whoever finds it taken does something else. A thread that held it when the process
// forked is not in the child, which takes the lock over.
class TryLock {
 public:
  enum class Taken { no, yes, orphaned };  // orphaned: yes, but what it guards may be half changed

  Taken take() {
    const uint32_t mine = fork_count() + 1;
    uint32_t found = 0;
    if (state_.compare_exchange_strong(found, mine, std::memory_order_acquire)) return Taken::yes;
    if (found == mine || !state_.compare_exchange_strong(found, mine, std::memory_order_acquire)) return Taken::no;
    return Taken::orphaned;
  }
  void give() { state_.store(0, std::memory_order_release); }

 private:
  std::atomic<uint32_t> state_{0};  // 0: free, else 1 + the fork_count of the process that took it
};

}  // namespace pylstm
