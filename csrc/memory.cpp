#include "memory.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pylstm {

void* allocate_aligned(size_t bytes) {
  constexpr size_t line = 64, huge_page = size_t(2) << 20, large = size_t(4) << 20;
  const size_t alignment = bytes >= large ? huge_page : line;
  if (bytes > size_t(PTRDIFF_MAX) - alignment) throw std::bad_alloc();
  bytes = (bytes + alignment - 1) / alignment * alignment;
#if defined(_WIN32)
  void* p = _aligned_malloc(bytes, alignment);
#else
  void* p = std::aligned_alloc(alignment, bytes);
#endif
  if (!p) throw std::bad_alloc();
#if defined(__linux__)
  if (alignment == huge_page) madvise(p, bytes, MADV_HUGEPAGE);  // a hint: a refusal costs speed alone
#endif
  return p;
}

void free_aligned(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  std::free(p);
#endif
}

}  // namespace pylstm
