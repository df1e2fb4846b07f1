// Dense layers and SiLU with tangents, and the gradients of dense layers. A Dual is a value (v) and its tangent (t).
#ifndef TLMD_ENGINE_TRAIN_DENSE_H
#define TLMD_ENGINE_TRAIN_DENSE_H

#include "gemm.h"

namespace tlmd::engine::TLMD_ISA {

constexpr int GRADIENT_ROWS = TLMD_VECTOR_BYTES == 64 ? 8 : 4;  // x two vectors of a gradient in registers; divides PAD

template <class real> static inline Dual<real *> operator+(Dual<real *> x, size_t n) { return {x.v + n, x.t + n}; }

// gradient (k, n) += x.v^T y.t + x.t^T y.v, x (rows, k), y (rows, n)
template <class real>
static void add_product(Dual<real *> x, int ldx, Dual<real *> y, int ldy, int rows, int k, int n, real *gradient) {
  constexpr int l = lanes<real>;
  for (int c = 0; c < n; c += 2 * l)
    for (int b = 0; b < k; b += GRADIENT_ROWS) {
      real *g = gradient + (size_t) b * n + c;
      vec<real> sum[GRADIENT_ROWS][2];
#pragma GCC unroll 8
      for (int r = 0; r < GRADIENT_ROWS; r++)
        sum[r][0] = load(g + (size_t) r * n), sum[r][1] = load(g + (size_t) r * n + l);
      for (const bool swapped : {false, true}) {
        const real *left = (swapped ? x.t : x.v) + b, *right = (swapped ? y.v : y.t) + c;
        for (int a = 0; a < rows; a++, left += ldx, right += ldy) {
          const vec<real> y0 = load(right), y1 = load(right + l);
#pragma GCC unroll 8
          for (int r = 0; r < GRADIENT_ROWS; r++) {
            sum[r][0] += left[r] * y0;
            sum[r][1] += left[r] * y1;
          }
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < GRADIENT_ROWS; r++)
        store(g + (size_t) r * n, sum[r][0]), store(g + (size_t) r * n + l, sum[r][1]);
    }
}

// Tangents times the matrix; the bias has none.
template <class real>
static void multiply_tangents(const real *x, int ldx, int rows, Matrix<real> w, real *y, int ldy, bool add = false) {
  w.bias = nullptr;
  multiply(x, ldx, rows, w, y, ldy, add);
}

// The tangents of the gradients of a dense layer, from its input x and the adjoint of its output.
template <class real>
static void add_gradient(Dual<real *> x, int ldx, Dual<real *> adjoint, int ldy, int rows, int k, int n, real *weight,
                         real *bias) {
  if (weight) add_product(x, ldx, adjoint, ldy, rows, k, n, weight);
  if (!bias) return;
  for (int a = 0; a < rows; a++)
    for (int c = 0; c < n; c += lanes<real>) add_to(bias + c, load(adjoint.t + (size_t) a * ldy + c));
}

// SiLU and its first two derivatives
template <class real> struct Silu {
  vec<real> value, slope, curve;

  explicit Silu(vec<real> x) {
    const vec<real> s = sigmoid<real>(x), s_slope = s * (real(1) - s);
    value = x * s;
    slope = s + x * s_slope;
    curve = s_slope * (real(2) + x * (real(1) - real(2) * s));
  }
};

// y = SiLU(x); its values too if y.v is there.
template <class real> static void activate(Dual<real *> x, Dual<real *> y, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const Silu<real> silu(load(x.v + c));
    if (y.v) store(y.v + c, silu.value);
    store(y.t + c, silu.slope * load(x.t + c));
  }
}

// The adjoint of x from that of y, whose values are in y_adjoint and whose tangents are in adjoint.t.
template <class real> static void activate_back(Dual<real *> x, const real *y_adjoint, Dual<real *> adjoint, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const Silu<real> silu(load(x.v + c));
    const vec<real> value = load(y_adjoint + c);
    store(adjoint.v + c, value * silu.slope);
    store(adjoint.t + c, load(adjoint.t + c) * silu.slope + value * silu.curve * load(x.t + c));
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
