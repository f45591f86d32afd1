// What this machine can do at best: multiply-adds, reading from each cache and from memory, the clock, two threads
// meeting. calibrate.py builds it (-O3 -march=native -ffp-contract=fast -pthread) and reads its JSON.
//
//     calibrate THREADS L1 L2 L3     everything; bytes of one core's first and second cache, and of the last
//     calibrate THREADS SECONDS      float32 rate sustained for so long, and meeting: how fast the machine is just now.
//                                    The median of pieces of some ms: the best of short bursts would be the moments
//                                    in which neighbours of a virtual machine leave it alone
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__AVX512F__)
enum { VEC = 64, CHAINS = 24 };
#elif defined(__AVX__)
enum { VEC = 32, CHAINS = 12 };  // 16 registers
#elif defined(__aarch64__)
enum { VEC = 16, CHAINS = 24 };
#else
enum { VEC = 16, CHAINS = 12 };
#endif
typedef float vec32 __attribute__((vector_size(VEC)));
typedef double vec64 __attribute__((vector_size(VEC)));
typedef uint64_t bits __attribute__((vector_size(VEC)));

enum { MAX_THREADS = 256, REPEATS = 9 };
static int threads;
static atomic_int arrived, turn;

// A barrier of one counter that all threads share: how long it takes tells how near the cores are to each other. The
// core's own (csrc/parallel.h) has no such counter but messages between pairs, and costs something else.
static void meet(void) {
  const int now = atomic_load_explicit(&turn, memory_order_relaxed);
  if (atomic_fetch_add(&arrived, 1) + 1 == threads) {
    atomic_store_explicit(&arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&turn, now + 1, memory_order_release);
    return;
  }
  for (int spins = 0; atomic_load_explicit(&turn, memory_order_acquire) == now; ++spins) {
    if (spins > 4096) sched_yield();
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

// A job does `count` rounds of its work on a thread's own buffer.
typedef void job(char* buffer, size_t bytes, long count);
static job* work;
static size_t work_bytes;
static long work_count;
static double spent[MAX_THREADS];

static void* run_job(void* arg) {
  const long me = (long)arg;
  char* buffer = NULL;
  if (work_bytes) {
    const size_t huge = (size_t)2 << 20, size = (work_bytes + huge - 1) / huge * huge;
    if (posix_memalign((void**)&buffer, huge, size)) abort();
    madvise(buffer, size, MADV_HUGEPAGE);  // weights lie on huge pages, too
    memset(buffer, 1, size);
  }
  work(buffer, work_bytes, work_count / 8 + 1);  // warm
  meet();
  const double start = now();
  work(buffer, work_bytes, work_count);
  spent[me] = now() - start;
  free(buffer);
  return NULL;
}

// Seconds of the slowest of n threads.
static double attempt(int n, job* f, size_t bytes, long count) {
  pthread_t others[MAX_THREADS];
  threads = n, work = f, work_bytes = bytes, work_count = count;
  for (long i = 1; i < n; ++i)
    if (pthread_create(&others[i], NULL, run_job, (void*)i)) abort();
  run_job((void*)0);
  double slowest = spent[0];
  for (int i = 1; i < n; ++i) {
    pthread_join(others[i], NULL);
    if (spent[i] > slowest) slowest = spent[i];
  }
  return slowest;
}

// The best of `repeats` attempts.
static double best(int n, job* f, size_t bytes, long count, int repeats) {
  double least = 1e30;
  for (int r = 0; r < repeats; ++r) {
    const double seconds = attempt(n, f, bytes, count);
    if (seconds < least) least = seconds;
  }
  return least;
}

static int compare(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

// The median attempt of those that fit into `seconds`.
static double usual(int n, job* f, long count, double seconds) {
  enum { MOST = 4096 };
  static double found[MOST];
  const double end = now() + seconds;
  int made = 0;
  do found[made++] = attempt(n, f, 0, count);
  while (now() < end && made < MOST);
  qsort(found, made, sizeof *found, compare);
  return found[made / 2];
}

// Independent chains, as many as hide the latency: CHAINS fused multiply-adds a round.
#define FMA_JOB(name, type)                                                       \
  static void name(char* buffer, size_t bytes, long count) {                      \
    type a[CHAINS], m, c;                                                         \
    (void)buffer, (void)bytes;                                                    \
    memset(a, 0, sizeof a);                                                       \
    for (size_t i = 0; i < VEC / sizeof m[0]; ++i) m[i] = 0.999, c[i] = 0.1;      \
    /* Hidden from the compiler, which would make one chain of equal ones. */     \
    for (int i = 0; i < CHAINS; ++i) __asm__ volatile("" : "+m"(a[i]));           \
    for (long k = 0; k < count; ++k)                                              \
      _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; ++i) a[i] = a[i] * m + c; \
    for (int i = 0; i < CHAINS; ++i) __asm__ volatile("" : : "m"(a[i]));          \
  }
FMA_JOB(fma32, vec32)
FMA_JOB(fma64, vec64)

static void read_all(char* buffer, size_t bytes, long count) {
  enum { STREAMS = 8 };
  bits s[STREAMS];
  memset(s, 0, sizeof s);
  for (long k = 0; k < count; ++k) {
    for (const char *p = buffer, *end = buffer + bytes; p < end; p += STREAMS * VEC)
      _Pragma("GCC unroll 8") for (int i = 0; i < STREAMS; ++i) s[i] |= *(const bits*)(p + i * VEC);
    __asm__ volatile("" : : : "memory");  // every round reads again
  }
  for (int i = 0; i < STREAMS; ++i) __asm__ volatile("" : : "m"(s[i]));
}

static void chain(char* buffer, size_t bytes, long count) {  // a cycle each
  uint64_t x = (uint64_t)buffer, y = bytes + 1;
  for (long k = 0; k < count; ++k)
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; ++i) {
      x ^= y;
      __asm__ volatile("" : "+r"(x));
    }
}

static void meetings(char* buffer, size_t bytes, long count) {
  (void)buffer, (void)bytes;
  for (long k = 0; k < count; ++k) meet();
}

static double fmas(int n, size_t element, long count) { return n * 2.0 * CHAINS * (VEC / element) * count; }

static double fma_rate(int n, job* f, size_t element, long count, int repeats) {
  return fmas(n, element, count) / best(n, f, 0, count, repeats);
}

static double meeting_seconds(int n, long count) {
  return n > 1 ? best(n, meetings, 0, count, REPEATS) / count : 0;
}

int main(int argc, char** argv) {
  const int most = argc > 1 ? atoi(argv[1]) : 0;
  if (most < 1 || most > MAX_THREADS || (argc != 3 && argc != 5)) return 2;
  if (argc == 3) {
    const double rate = fmas(most, 4, 400000) / usual(most, fma32, 400000, atof(argv[2]));
    printf("[%.6g, %.6g]\n", rate, meeting_seconds(most, 2000));
    return 0;
  }
  const char* levels[] = {"l1", "l2", "l3", "memory"};
  const size_t l1 = atol(argv[2]), l2 = atol(argv[3]), l3 = atol(argv[4]);
  printf("{\"vector_bytes\": %d, \"clock\": %.6g,\n", VEC, 16.0 * 500000 / best(1, chain, 0, 500000, REPEATS));
  const int counts[] = {1, most};
  for (int k = 0; k < 2; ++k) {
    const int n = counts[k];
    // Half of a core's own caches; of the last one a quarter for all; and four times the last one.
    const size_t sets[] = {l1 / 2, l2 / 2, l3 / 4 / n, l3 * 4 / n};
    printf(" \"%s\": {\"float32\": %.6g, \"float64\": %.6g", k ? "all" : "one",
           fma_rate(n, fma32, 4, 400000, REPEATS), fma_rate(n, fma64, 8, 400000, REPEATS));
    for (int i = 0; i < 4; ++i) {
      const size_t bytes = sets[i] / 4096 * 4096;
      const long count = ((size_t)1 << (i < 2 ? 28 : 26)) / bytes + 1;
      printf(", \"%s\": %.6g", levels[i], 1.0 * n * bytes * count / best(n, read_all, bytes, count, REPEATS));
    }
    printf("},\n");
  }
  printf(" \"barrier\": %.6g}\n", meeting_seconds(most, 20000));
  return 0;
}
