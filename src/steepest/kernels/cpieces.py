"""What the generated C has in every program: the table, odd number formats, random numbers, the driver."""

HEADER = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  void **memory;            /* rows x memories that stay */
  void **moving;            /* parameters, gradients: each x rows */
  const int64_t *chunk;     /* chunks x (row, begin, end) */
  const int32_t *group;     /* row -> row of scalars */
  const double *scalars;    /* groups x scalars */
  double *totals;           /* rows x sums of earlier phases */
  double *overall;          /* the same sums, over all rows */
  double *partials;         /* chunks x sums of this phase */
  double *units;            /* units of all rows x sums over them */
  double **kept;            /* rows x state of one number */
  const uint64_t *keys;     /* rows x keys of random numbers */
  const int64_t *size;      /* row -> how many numbers */
  const int64_t *length;    /* row -> how many in a unit */
  const int64_t *unit_at;   /* row -> the first of its units */
  int64_t num_chunks;
  int64_t num_rows;
} table;
"""

BFLOAT16 = """\
static inline float from_bfloat16(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}
static inline uint16_t to_bfloat16(float y) {
  uint32_t bits;
  memcpy(&bits, &y, 4);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (uint16_t)rounded;
}
"""

# as in random.py
RANDOM = """\
static inline uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}
static inline uint32_t random_bits(int64_t i, uint64_t key) {
  return mixed(mixed((uint32_t)i * 0x9e3779b1u + (uint32_t)key) ^ (uint32_t)(key >> 32));
}
static inline double normal(int64_t i, uint64_t key) {
  const double radius = ((double)(random_bits(i, key) >> 9) + 0.5) * 0x1p-23;
  const double angle = ((double)(random_bits(i, key ^ ((uint64_t)0x85ebca6b << 32)) >> 9) + 0.5) * 0x1p-23;
  return sqrt(-2 * log(radius)) * cos(6.283185307179586 * angle);
}
static inline float stochastic_bfloat16(float y, int64_t i, uint64_t key) {
  uint32_t bits;
  memcpy(&bits, &y, 4);
  bits = (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + (random_bits(i, key) & 0xffff)) & 0xffff0000;
  memcpy(&y, &bits, 4);
  return y;
}
"""

# as in storage.py
EIGHT_BIT = """\
static inline real read_signed8(int8_t c, real step) { return (real)(c * (c < 0 ? -c : c)) * step; }
static inline real read_unsigned8(uint8_t c, real step) {
  const real square = (real)(c * c);
  return square * square * step;
}
static inline real root(real x) { return sizeof(real) == 4 ? __builtin_sqrtf(x) : __builtin_sqrt(x); }
static inline real peak_of(const real *new, int64_t n) {
  real peak = 0, odd = 0;
#pragma omp simd reduction(max : peak) reduction(+ : odd)
  for (int64_t i = 0; i < n; i++) {
    const real size = sizeof(real) == 4 ? __builtin_fabsf(new[i]) : __builtin_fabs(new[i]);
    peak = size > peak ? size : peak;
    odd += new[i] - new[i];
  }
  return odd != 0 ? NAN : (real)(float)peak;
}
static inline float write_signed8(const real *new, int8_t *code, int64_t n) {
  const real peak = peak_of(new, n), over = peak > 0 ? peak : 1;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const real size = sizeof(real) == 4 ? __builtin_fabsf(new[i]) : __builtin_fabs(new[i]);
    const real level = root(size / over) * 127 + (real)0.5;
    const int whole = level < 127 ? (int)level : 127;
    code[i] = (int8_t)(new[i] < 0 ? -whole : whole);
  }
  return (float)peak;
}
static inline float write_unsigned8(const real *new, uint8_t *code, int64_t n) {
  const real peak = peak_of(new, n), over = peak > 0 ? peak : 1;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const real level = root(root(new[i] / over)) * 255 + (real)0.5;
    const int whole = level < 255 ? (int)level : 255;
    code[i] = (uint8_t)(new[i] > 0 && whole < 1 ? 1 : whole);
  }
  return (float)peak;
}
"""

# Phases run in one parallel region, through torch's own OpenMP: two of them in a process would fight over the cores. A thread
# takes the same chunks in every phase; they wait for each other only where something is summed over more than a chunk.
DRIVER = """\
typedef struct {
  void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
  int (*thread)(void);
  int (*threads)(void);
  void (*barrier)(void);
} openmp;
typedef struct { const table *t; const openmp *omp; int first, last; } job;

/* Add up a phase's sums, chunks in their order: for each row, or over all of them. */
static void add_up(const table *t, int phase) {
  for (int64_t s = 0; s < num_sums[phase]; s++) {
    double sum = 0, *total = t->totals + sum_column[phase][s];
    for (int64_t r = 0; r < t->num_rows; r++) total[r * TOTALS] = 0;
    for (int64_t c = 0; c < t->num_chunks; c++) {
      const double part = t->partials[c * num_sums[phase] + s];
      total[t->chunk[3 * c] * TOTALS] += part;
      sum += part;
    }
    for (int64_t r = 0; r < t->num_rows && !of_each[phase][s]; r++) total[r * TOTALS] = sum;
    t->overall[sum_column[phase][s]] = sum;
  }
}

static void walk(const job *j, int64_t k, int64_t of) {
  const table *t = j->t;
  for (int phase = j->first; phase < j->last; phase++) {
    const int is_last = phase + 1 == PHASES, together = num_sums[phase] || (is_last && FINISHES);
    for (int64_t c = t->num_chunks * k / of; c < t->num_chunks * (k + 1) / of; c++) phases[phase](t, c);
    if (together && of > 1) j->omp->barrier();
    if (together && k == 0) {
      add_up(t, phase);
      for (int64_t r = 0; is_last && r < t->num_rows; r++) finish_row(t, r);
    }
    if (together && of > 1) j->omp->barrier();
  }
}

static void share(void *argument) {
  const job *j = argument;
  walk(j, j->omp->thread(), j->omp->threads()); /* may be fewer than were asked for */
}

/* Run the phases from `first` to before `last`. */
void run(const table *t, const openmp *omp, int first, int last, int threads) {
  job j = {t, omp, first, last};
  if (threads > 1) omp->parallel(share, &j, threads, 0);
  else walk(&j, 0, 1);
}
"""
