"""What the generated C has in every program: the table, odd number formats, random numbers, the driver."""

HEADER = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  void **memory;            /* rows x memories */
  const int64_t *chunk;     /* chunks x (row, begin, end) */
  const int32_t *group;     /* row -> row of scalars */
  const double *scalars;    /* groups x scalars */
  double *totals;           /* rows x sums of earlier phases */
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

# One parallel region a phase, through torch's own OpenMP: two of them in a process would fight over the cores.
DRIVER = """\
typedef void (*parallel_function)(void (*)(void *), void *, unsigned, unsigned);
typedef struct { const table *t; int phase; int (*thread)(void); int (*threads)(void); } job;

static void share(void *argument) {
  const job *j = argument;
  int64_t n = j->t->num_chunks, k = j->thread(), of = j->threads(); /* may be fewer than were asked for */
  for (int64_t c = n * k / of; c < n * (k + 1) / of; c++) phases[j->phase](j->t, c);
}

void run(const table *t, int phase, int asked, parallel_function parallel, int (*thread)(void), int (*threads)(void)) {
  if (asked > 1) {
    job j = {t, phase, thread, threads};
    parallel(share, &j, asked, 0);
  } else {
    for (int64_t c = 0; c < t->num_chunks; c++) phases[phase](t, c);
  }
}

/* Add up a phase's sums, chunks in their order: for each row, to column `place[s]` of its totals; all of them, to result. */
void add_up(const table *t, int64_t sums, const int64_t *place, double *result) {
  for (int64_t s = 0; s < sums; s++) {
    double sum = 0;
    if (place[s] >= 0)
      for (int64_t r = 0; r < t->num_rows; r++) t->totals[r * TOTALS + place[s]] = 0;
    for (int64_t c = 0; c < t->num_chunks; c++) {
      const double part = t->partials[c * sums + s];
      if (place[s] >= 0) t->totals[t->chunk[3 * c] * TOTALS + place[s]] += part;
      sum += part;
    }
    result[s] = sum;
  }
}

void finish(const table *t) {
  for (int64_t row = 0; row < t->num_rows; row++) finish_row(t, row);
}
"""
