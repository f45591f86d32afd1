#include "kept_plans.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "fork.h"

namespace pylstm {
namespace {

// A Problem and the threads allowed, as numbers.
struct Key {
  static_assert(std::has_unique_object_representations_v<Problem>, "padding would make equal problems differ");
  static constexpr size_t size = sizeof(Problem) / sizeof(uint64_t) + 1;
  static_assert(sizeof(Problem) % sizeof(uint64_t) == 0);

  Key(const Problem& problem, int threads) {
    std::memcpy(words.data(), &problem, sizeof(Problem));
    words.back() = uint64_t(threads);
  }

  // Sums of products, which do not wait for each other; the upper bits are the good ones.
  uint64_t hash() const {
    uint64_t factor = 0x9e3779b97f4a7c15, sum = 0;
    for (const uint64_t word : words) {
      sum += (word + 1) * factor;
      factor = factor * 0xd1342543de82ef95 + 2;
    }
    return (sum ^ sum >> 32) * 0x9e3779b97f4a7c15;
  }

  std::array<uint64_t, size> words;
};

// One shape and its plan. A writer makes the version odd, writes and makes it even again; a reader who finds another
// version after reading, or an odd one, has found nothing. Every word is an atomic, whose acquire and release keep the
// order: a reader of a new word sees the odd version at least.
class Slot {
 public:
  bool find(const Key& key, Plan& plan) const {
    const uint64_t version = version_.load(std::memory_order_acquire);
    if (version & 1) return false;
    for (size_t i = 0; i < Key::size; ++i)
      if (key_[i].load(std::memory_order_acquire) != key.words[i]) return false;
    PlanWords words;
    for (size_t i = 0; i < plan_words; ++i) words[i] = plan_[i].load(std::memory_order_acquire);
    if (version_.load(std::memory_order_relaxed) != version) return false;
    std::memcpy(static_cast<void*>(&plan), words.data(), sizeof(Plan));
    return true;
  }

  // Nothing happens where another thread is writing here.
  void put(const Key& key, const Plan& plan) {
    PlanWords words{};
    std::memcpy(words.data(), &plan, sizeof(Plan));
    write(key.words, words);
  }
  void clear() { write({}, {}); }

  bool empty() const { return key_[Key::size - 1].load(std::memory_order_relaxed) == 0; }  // no call has no threads

 private:
  static constexpr size_t plan_words = (sizeof(Plan) + sizeof(uint64_t) - 1) / sizeof(uint64_t);
  using PlanWords = std::array<uint64_t, plan_words>;

  void write(const std::array<uint64_t, Key::size>& key, const PlanWords& plan) {
    if (writer_.take() == TryLock::Taken::no) return;  // orphaned: the version is odd already
    const uint64_t odd = version_.load(std::memory_order_relaxed) | 1;
    version_.store(odd, std::memory_order_relaxed);
    for (size_t i = 0; i < Key::size; ++i) key_[i].store(key[i], std::memory_order_release);
    for (size_t i = 0; i < plan_words; ++i) plan_[i].store(plan[i], std::memory_order_release);
    version_.store(odd + 1, std::memory_order_release);
    writer_.give();
  }

  TryLock writer_;
  std::atomic<uint64_t> version_{0};
  std::atomic<uint64_t> key_[Key::size] = {};  // zeros: of no plan
  std::atomic<uint64_t> plan_[plan_words] = {};
};

// What tests ask for: rows << 32 | units << 16 | directions, or 0, and the rows of a chunk. The epoch counts changes.
std::atomic<uint64_t> forced_split{0};
std::atomic<ptrdiff_t> forced_chunk_rows{-1};
std::atomic<int> forced_once{-1};
std::atomic<uint64_t> epoch{0}, made{0};

Plan make_plan(const Problem& problem, int threads) {
  made.fetch_add(1, std::memory_order_relaxed);
  Split split;
  bool chosen = false;
  if (const uint64_t force = forced_split.load()) {
    split = {int(force >> 32), int(force >> 16 & 0xffff), int(force & 0xffff)};
    split.directions = problem.backward ? 1 : std::min(split.directions, problem.directions);
    chosen = split.threads() <= threads;
  }
  Plan plan = plan_with(problem, chosen ? split : choose_split(problem, threads));
  if (const ptrdiff_t rows = forced_chunk_rows.load(); rows >= 0) plan.chunk_rows = rows;
  return plan;
}

class KeptPlans {
 public:
  Plan plan(const Problem& problem, int threads) {
    const Key key(problem, threads);
    Slot* const set = slots_ + (key.hash() >> (64 - set_bits)) * ways;
    Plan found;
    for (Slot* slot = set; slot < set + ways; ++slot)
      if (slot->find(key, found)) return found;
    return make(key, problem, threads, set);
  }

  void clear() {
    for (Slot& slot : slots_) slot.clear();
  }

  ptrdiff_t kept() const {
    return std::count_if(slots_, slots_ + most, [](const Slot& slot) { return !slot.empty(); });
  }

  static constexpr int set_bits = 7, ways = 4;  // a shape has one of four places
  static constexpr ptrdiff_t most = ptrdiff_t(ways) << set_bits;

 private:
  [[gnu::noinline]] Plan make(const Key& key, const Problem& problem, int threads, Slot* set) {
    const uint64_t before = epoch.load();
    const Plan plan = make_plan(problem, threads);
    Slot* place = std::find_if(set, set + ways, [](const Slot& slot) { return slot.empty(); });
    if (place == set + ways) place = set + turn_.fetch_add(1, std::memory_order_relaxed) % ways;
    place->put(key, plan);
    // A plan of before force_plan may have come to its place behind it. Written to, the epoch orders the two: either it
    // is seen to have changed here, or force_plan finds the plan.
    if (epoch.fetch_add(0) != before) place->clear();
    return plan;
  }

  Slot slots_[most];
  std::atomic<uint32_t> turn_{0};
};

constinit KeptPlans kept_plans;

}  // namespace

Plan plan_for(const Problem& problem, int threads) { return kept_plans.plan(problem, threads); }

bool computes_once(ptrdiff_t total, ptrdiff_t distinct, ptrdiff_t input) {
  const int once = forced_once.load();
  return distinct > 0 && (once < 0 ? pays_once(total, distinct, input) : once == 1);
}

void force_plan(const Forced& forced) {
  const Split& s = forced.split;
  forced_split.store(forced.split_set ? uint64_t(s.rows) << 32 | uint64_t(s.units) << 16 | uint64_t(s.directions) : 0);
  forced_chunk_rows.store(forced.chunk_rows);
  forced_once.store(forced.once);
  epoch.fetch_add(1);
  kept_plans.clear();
}

PlanCounts plan_counts() { return {made.load(), kept_plans.kept(), KeptPlans::most}; }

}  // namespace pylstm
