// How large this machine's caches are.
#pragma once

#include <cstddef>

namespace pylstm {

// Of one core's L2, and of the L3 that all share; a common size where the system does not tell.
struct Caches {
  ptrdiff_t l2 = ptrdiff_t(1) << 20, l3 = ptrdiff_t(16) << 20;
  Caches();
};
// Asked when the library is loaded: the first call that asked would hold a lock, which a child might find taken for
// ever.
extern const Caches caches;

}  // namespace pylstm
