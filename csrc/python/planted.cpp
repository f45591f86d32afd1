// Faults on purpose, in builds with -DPYLSTM_PLANT_FAULTS=ON alone: a sanitizer that does not see these sees nothing.
// tests/core/test_sanitizers.py calls them.
#include <climits>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.h"
#include "python/bindings.h"

namespace pylstm {
namespace {

int read_behind_the_end(int n) {
  const std::vector<float> row(size_t(n), 1.0f);
  return int(row.data()[n]);
}

int overflow(int n) {
  int large = INT_MAX - 1 + n / 1000;
  return large + n;
}

// A branch on memory that nobody has written.
int uninitialised(int n) {
  volatile float* const row = new float[size_t(n)];
  static volatile int positive = 0;
  if (row[n / 2] > 0) positive = positive + 1;
  delete[] row;
  return positive;
}

int race(int n) {
  int count = 0;
  parallel(2, [&](int) {
    for (int i = 0; i < n; ++i) count += i;
  });
  return count;
}

}  // namespace

int planted_fault(const std::string& name) {
  volatile int n = 1000;
  if (name == "out of bounds") return read_behind_the_end(n);
  if (name == "undefined") return overflow(n);
  if (name == "uninitialised") return uninitialised(n);
  if (name == "race") return race(n);
  throw std::invalid_argument("no fault " + name);
}

}  // namespace pylstm
