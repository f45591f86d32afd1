#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace pylstm {

extern const IsaKernels kernels_baseline, kernels_avx2, kernels_avx512, kernels_neon;

namespace {

std::atomic<const IsaKernels*> chosen{nullptr};

const IsaKernels& find(const std::string& name, const char* source) {
  std::string names;
  for (const IsaKernels* isa : available_isas()) {
    if (name == isa->name) return *isa;
    names += (names.empty() ? "" : ", ") + std::string(isa->name);
  }
  throw std::invalid_argument(std::string(source) + ": expected one of " + names +
                              " (what this machine can run), got '" + name + "'");
}

}  // namespace

const std::vector<const IsaKernels*>& available_isas() {
  static const std::vector<const IsaKernels*> isas = [] {
    std::vector<const IsaKernels*> found;
#if defined(PYLSTM_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      found.push_back(&kernels_avx512);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&kernels_avx2);
#endif
#if defined(PYLSTM_NEON)
    found.push_back(&kernels_neon);
#else
    found.push_back(&kernels_baseline);
#endif
    return found;
  }();
  return isas;
}

const IsaKernels& current_isa() {
  if (const IsaKernels* isa = chosen.load()) return *isa;
  const char* forced = std::getenv("PYLSTM_ISA");
  const IsaKernels& isa =
      forced && *forced ? find(forced, "environment variable PYLSTM_ISA") : *available_isas().front();
  chosen.store(&isa);
  return isa;
}

void use_isa(const std::string& name) { chosen.store(&find(name, "isa")); }

}  // namespace pylstm
