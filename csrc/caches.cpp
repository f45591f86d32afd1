#include "caches.h"

#if defined(__linux__)
#include <unistd.h>
#endif

namespace pylstm {

Caches::Caches() {
#if defined(_SC_LEVEL3_CACHE_SIZE)
  if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) l2 = bytes;
  if (const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE); bytes > 0) l3 = bytes;
#endif
}

const Caches caches;

}  // namespace pylstm
