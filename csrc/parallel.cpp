#include "parallel.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <thread>
#include <utility>

#include "fork.h"

#if defined(_WIN32)
#include <system_error>
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#endif

namespace pylstm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long a thread keeps looking before it sleeps: the calls of a training step follow each other sooner, and waking a
// thread costs more than many of them take.
constexpr auto patience = milliseconds(2);
// Who meets others at a barrier and is not woken looks again after every nap.
constexpr auto nap = std::chrono::microseconds(50);

// Whether the threads of a pool, which meet many times in a job, run at once. Where other programs have the cores, one
// waits while the other is off its core for milliseconds, and one alone would be done sooner.
class Crowd {
 public:
  // By every thread in a job: it was late by this at a meeting.
  void lost(Clock::duration time) { lost_.fetch_add(time.count(), std::memory_order_relaxed); }

  // By the caller, after a job.
  void ran(Clock::time_point began) {
    const auto now = Clock::now();
    // Behind a pause the others were asleep, and idle cores take long to come back: that says nothing of a crowd.
    if (std::exchange(cold_, false)) return void(lost_.store(0, std::memory_order_relaxed));
    ran_ += now - began;
    if (ran_ < window) return;
    const bool crowded = double(lost_.exchange(0, std::memory_order_relaxed)) > most_lost * double(ran_.count());
    ran_ = Clock::duration();
    // One window by itself is a hiccup: with pauses for these, quiet cores had one thread for 1 to 5 % of the time.
    if (crowded && !trying_ && !std::exchange(suspected_, true)) return;
    suspected_ = false;
    if (crowded) {
      until_ = now + pause_, pause_ = std::min<Clock::duration>(2 * pause_, longest_pause), trying_ = true;
    } else if (!std::exchange(trying_, false)) {
      pause_ = first_pause;
    }
  }

  bool now() {
    if (until_ == Clock::time_point()) return false;
    if (Clock::now() < until_) return true;
    until_ = Clock::time_point(), cold_ = true;
    return false;
  }

 private:
  static constexpr double most_lost = 0.5;  // two threads that wait for less than half of it are faster than one
  static constexpr Clock::duration window = milliseconds(20);
  static constexpr Clock::duration first_pause = milliseconds(100), longest_pause = milliseconds(800);

  std::atomic<Clock::rep> lost_{0};
  Clock::duration ran_{}, pause_ = first_pause;
  Clock::time_point until_{};
  bool suspected_ = false, trying_ = false, cold_ = false;
};

// Of the pool for which this thread is at work.
thread_local Crowd* own_crowd = nullptr;

class AtWork {
 public:
  explicit AtWork(Crowd& crowd) : outer_(std::exchange(own_crowd, &crowd)) {}
  ~AtWork() { own_crowd = outer_; }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

 private:
  Crowd* const outer_;
};

// Until `variable` no longer holds `old`.
template <class T>
T wait_for_change(const std::atomic<T>& variable, T old) {
  for (Spin spin;; spin.turn()) {
    const T found = variable.load(std::memory_order_acquire);
    if (found != old) return found;
    if (spin.waited() > patience) variable.wait(old, std::memory_order_acquire);
  }
}

template <class T>
void notify(std::atomic<T>& variable) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // before the look at whether anybody sleeps
  variable.notify_one();
}

#if defined(_WIN32)
class Thread {
 public:
  bool start(void* (*f)(void*), void* argument) {
    try {
      thread_ = std::thread([=] { f(argument); });
    } catch (const std::system_error&) {
      return false;
    }
    return true;
  }
  void join() { thread_.join(); }

 private:
  std::thread thread_;
};
#else
class Thread {
 public:
  // False where the system gives no more threads.
  bool start(void* (*f)(void*), void* argument) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    // The default is the limit on the main thread's stack, which may be more than there is.
    constexpr size_t stack = size_t(2) << 20;
    sigset_t all, before;
    sigfillset(&all);
    // The program's signals are for its own threads.
    bool started =
        pthread_attr_setstacksize(&attributes, stack) == 0 && pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
    if (started) {
      started = pthread_create(&thread_, &attributes, f, argument) == 0;
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    pthread_attr_destroy(&attributes);
    return started;
  }
  void join() { pthread_join(thread_, nullptr); }

 private:
  pthread_t thread_;
};
#endif

// A thread that waits for its part of the next job.
class PoolThread {
 public:
  PoolThread(int id, std::atomic<int>& running, Crowd& crowd) : id_(id), running_(running), crowd_(crowd) {}
  ~PoolThread() {
    if (!started_) return;
    job_ = nullptr;
    wake();
    thread_.join();
  }

  bool start() {
    const auto body = [](void* self) -> void* {
      static_cast<PoolThread*>(self)->loop();
      return nullptr;
    };
    return started_ = thread_.start(body, this);
  }

  void run(Job job, const void* f) {
    job_ = job, f_ = f;
    wake();
  }

 private:
  void wake() {
    turn_.fetch_add(1, std::memory_order_release);
    notify(turn_);
  }

  void loop() {
    for (uint32_t turn = 0;;) {
      turn = wait_for_change(turn_, turn);
      if (!job_) return;
      {
        const AtWork here(crowd_);
        const FlushDenormals flush;
        job_(f_, id_);
      }
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) notify(running_);
    }
  }

  alignas(64) std::atomic<uint32_t> turn_{0};
  Job job_ = nullptr;  // null: come to an end
  const void* f_ = nullptr;
  const int id_;
  std::atomic<int>& running_;
  Crowd& crowd_;
  bool started_ = false;
  Thread thread_;
};

// The threads that work for one of the program's threads, kept from call to call.
class Pool {
 public:
  int run(int threads, Job job, const void* f) {
    if (busy_) return 1;  // a signal handler calls in the middle of a call
    if (const int most = 1 + recruit(threads - 1); most < threads) return most;
    busy_ = true;
    const auto began = Clock::now();
    running_.store(threads - 1, std::memory_order_relaxed);
    for (int i = 0; i < threads - 1; ++i) threads_[size_t(i)]->run(job, f);
    {
      const AtWork here(crowd_);
      {
        const FlushDenormals flush;
        job(f, 0);
      }
      for (int left; (left = running_.load(std::memory_order_acquire)) > 0;) wait_for_change(running_, left);
    }
    crowd_.ran(began);
    busy_ = false;
    return threads;
  }

  bool crowded() { return crowd_.now(); }

 private:
  // Starts threads until there are `count`, or as many as can be had; how many there are.
  int recruit(int count) {
    try {
      threads_.reserve(size_t(count));
      while (int(threads_.size()) < count) {
        auto thread = std::make_unique<PoolThread>(int(threads_.size()) + 1, running_, crowd_);
        if (!thread->start()) break;
        threads_.push_back(std::move(thread));
      }
    } catch (const std::bad_alloc&) {  // fewer, then
    }
    return int(threads_.size());
  }

  std::atomic<int> running_{0};
  Crowd crowd_;
  std::vector<std::unique_ptr<PoolThread>> threads_;
  bool busy_ = false;
};

// The pool of the thread it belongs to. That of a process before a fork is left alone: its threads are not here.
class OwnPool {
 public:
  ~OwnPool() {
    if (pool_ && forks_ == fork_count()) delete pool_;
  }
  // Null where there is none yet.
  Pool* found() const { return forks_ == fork_count() ? pool_ : nullptr; }
  // Null where there is no memory for one.
  Pool* get() {
    if (!found()) {
      pool_ = new (std::nothrow) Pool;
      forks_ = fork_count();
    }
    return pool_;
  }

 private:
  Pool* pool_ = nullptr;
  uint32_t forks_ = 0;
};
thread_local OwnPool own_pool;

}  // namespace

void Spin::give_way() {
  if (!given_way_) given_way_ = true, since_ = Clock::now();
#if defined(_WIN32)
  std::this_thread::yield();
#else
  if (waited() < 2 * patience)
    sched_yield();
  else
    std::this_thread::sleep_for(nap);
#endif
}

void Spin::tell_waited() const {
  if (own_crowd) own_crowd->lost(waited());
}

int threads_now(int threads) {
  Pool* const pool = own_pool.found();
  return threads > 1 && pool && pool->crowded() ? 1 : threads;
}

int run_on_pool(int threads, Job job, const void* f) {
  if (!has_openmp) return 1;
  Pool* const pool = own_pool.get();
  return pool ? pool->run(threads, job, f) : 1;  // a step of Adam may have begun to write: it must not fail here
}

}  // namespace pylstm
