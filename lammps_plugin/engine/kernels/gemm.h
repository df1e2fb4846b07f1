// Dense layers: rows of atoms times a packed matrix, accumulators in registers.
#ifndef TLMD_ENGINE_GEMM_H
#define TLMD_ENGINE_GEMM_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

constexpr int ROWS = TLMD_VECTOR_BYTES == 64 ? 12 : 6;  // x two vectors of columns fill the registers

template <class real>
static inline void block(const real *x, int ldx, int k, const real *panel, const real *bias, real *y, int ldy,
                         bool add) {
  constexpr int n = lanes<real>;
  vec<real> sum[ROWS][2];
  const vec<real> b0 = bias ? load(bias) : vec<real>{}, b1 = bias ? load(bias + n) : vec<real>{};
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; r++) {
    sum[r][0] = b0;
    sum[r][1] = b1;
  }
  for (int c = 0; c < k; c++, panel += 2 * n) {
    const vec<real> w0 = load(panel), w1 = load(panel + n);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
      const vec<real> v = x[(size_t) r * ldx + c] + vec<real>{};
      sum[r][0] += v * w0;
      sum[r][1] += v * w1;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; r++, y += ldy) {
    store(y, add ? load(y) + sum[r][0] : sum[r][0]);
    store(y + n, add ? load(y + n) + sum[r][1] : sum[r][1]);
  }
}

// y (rows, n) = x (rows, k) W + bias, or added to y. Rows are rounded up to a multiple of ROWS: x and y have them.
template <class real>
static void multiply(const real *x, int ldx, int rows, const Matrix<real> &w, real *y, int ldy, bool add = false) {
  constexpr int n = 2 * lanes<real>;
  for (int c = 0; c < w.n; c += n)
    for (int r = 0; r < rows; r += ROWS)
      block(x + (size_t) r * ldx, ldx, w.k, w.packed + (size_t) c * w.k, w.bias ? w.bias + c : nullptr,
            y + (size_t) r * ldy + c, ldy, add);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
