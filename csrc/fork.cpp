#include "fork.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace pylstm {
namespace {

std::atomic<uint32_t> forks{0};

#if !defined(_WIN32)
const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
#endif

}  // namespace

uint32_t fork_count() { return forks.load(std::memory_order_relaxed); }

}  // namespace pylstm
