#include "parallel.h"

#include <chrono>
#include <memory>
#include <new>

#include "fork.h"

#if defined(_WIN32)
#include <system_error>
#include <thread>
#else
#include <pthread.h>
#include <signal.h>
#endif

namespace pylstm {
namespace {

// How long a thread keeps looking before it sleeps: the calls of a training step follow each other sooner, and waking a
// thread costs more than many of them take.
constexpr auto patience = std::chrono::milliseconds(2);

// Until `variable` no longer holds `old`.
template <class T>
T wait_for_change(const std::atomic<T>& variable, T old) {
  Spin spin;
  auto began = std::chrono::steady_clock::time_point();
  for (;; spin.turn()) {
    const T found = variable.load(std::memory_order_acquire);
    if (found != old) return found;
    if (spin.turns() % 64 != 63) continue;
    const auto now = std::chrono::steady_clock::now();
    if (began == std::chrono::steady_clock::time_point())
      began = now;
    else if (now - began > patience)
      variable.wait(old, std::memory_order_acquire);
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
  PoolThread(int id, std::atomic<int>& running) : id_(id), running_(running) {}
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
    running_.store(threads - 1, std::memory_order_relaxed);
    for (int i = 0; i < threads - 1; ++i) threads_[size_t(i)]->run(job, f);
    {
      const FlushDenormals flush;
      job(f, 0);
    }
    for (int left; (left = running_.load(std::memory_order_acquire)) > 0;) wait_for_change(running_, left);
    busy_ = false;
    return threads;
  }

 private:
  // Starts threads until there are `count`, or as many as can be had; how many there are.
  int recruit(int count) {
    try {
      threads_.reserve(size_t(count));
      while (int(threads_.size()) < count) {
        auto thread = std::make_unique<PoolThread>(int(threads_.size()) + 1, running_);
        if (!thread->start()) break;
        threads_.push_back(std::move(thread));
      }
    } catch (const std::bad_alloc&) {  // fewer, then
    }
    return int(threads_.size());
  }

  std::atomic<int> running_{0};
  std::vector<std::unique_ptr<PoolThread>> threads_;
  bool busy_ = false;
};

// The pool of the thread it belongs to. That of a process before a fork is left alone: its threads are not here.
class OwnPool {
 public:
  ~OwnPool() {
    if (pool_ && forks_ == fork_count()) delete pool_;
  }
  // Null where there is no memory for one.
  Pool* get() {
    if (!pool_ || forks_ != fork_count()) {
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

int run_on_pool(int threads, Job job, const void* f) {
  if (!has_openmp) return 1;
  Pool* const pool = own_pool.get();
  return pool ? pool->run(threads, job, f) : 1;  // a step of Adam may have begun to write: it must not fail here
}

}  // namespace pylstm
