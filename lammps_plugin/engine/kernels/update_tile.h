// A tile of atoms in the update, eqs. 9 and 10 of the PaiNN paper: its buffers, which stay in cache, and the ways
// between them and the arrays of all atoms.
#ifndef TLMD_ENGINE_UPDATE_TILE_H
#define TLMD_ENGINE_UPDATE_TILE_H

#include "gemm.h"

namespace tlmd::engine::TLMD_ISA {

// Buffers, row-major; rows of vectors are atom * 3 + component.
template <class real> struct UpdateTile {
  real *q_norm;   // (TILE, 2F) q, |V|
  real *mu;       // (3 TILE, F)
  real *VU;       // (3 TILE, 2F)
  real *three_f;  // (TILE, 3F)
  real *one_f;    // (TILE, F)

  UpdateTile(real *scratch, int f)
      : q_norm(scratch), mu(q_norm + 2 * TILE * f), VU(mu + 3 * TILE * f), three_f(VU + 6 * TILE * f),
        one_f(three_f + 3 * TILE * f) {}
};

// Rows of q (q_pitch numbers apart) and mu (f apart) of a tile from, or to, the blocked state of n_atoms atoms.
template <bool write, class real>
static inline void state_rows(real *state, int n_atoms, int f, int first, int count, real *q, int q_pitch, real *mu) {
  constexpr int n = lanes<real>;
  for (int c = 0; c < f; c += n) {
    real *row = state + ((size_t) c / n * n_atoms + first) * 4 * n;
    for (int a = 0; a < count; a++, row += 4 * n)
      for (int k = 0; k < 4; k++) {
        real *flat = k == 0 ? q + (size_t) a * q_pitch + c : mu + ((size_t) a * 3 + k - 1) * f + c;
        if (write)
          store(row + k * n, load(flat));
        else
          store(flat, load(row + k * n));
      }
  }
}

// y = SiLU(x), and the adjoint of x from that of y
template <class real> static inline void activate(const real *x, real *y, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const vec<real> v = load(x + c);
    store(y + c, v * sigmoid<real>(v));
  }
}
template <class real>
static inline void activate_back(const real *x, const real *y_adjoint, real *x_adjoint, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) store(x_adjoint + c, load(y_adjoint + c) * silu_slope<real>(load(x + c)));
}

// Rows of a tile, `pitch` numbers apart, to their place in an array (N, width) that stays, if it is there.
template <class real>
static inline void keep(const real *from, int pitch, int first, int count, int width, real *array) {
  if (!array) return;
  for (int a = 0; a < count; a++)
    __builtin_memcpy(array + (size_t) (first + a) * width, from + (size_t) a * pitch, sizeof(real) * width);
}

// A tile's rows in an array (N, width) that stays, or, without it, in scratch memory.
template <class real> static inline real *kept_or(real *array, int first, int width, real *scratch) {
  return array ? array + (size_t) first * width : scratch;
}

// V mu and U mu of channel c of an atom, and what is made of them
template <class real> struct Mixed {
  vec<real> V[3], U[3], UV;  // UV = <U mu, V mu>

  Mixed(const real *VU, int f, int c) {
    for (int k = 0; k < 3; k++) V[k] = load(VU + 2 * k * f + c), U[k] = load(VU + (2 * k + 1) * f + c);
    UV = V[0] * U[0] + V[1] * U[1] + V[2] * U[2];
  }
  inline vec<real> norm2(real epsilon2) const { return V[0] * V[0] + V[1] * V[1] + V[2] * V[2] + epsilon2; }
};

}  // namespace tlmd::engine::TLMD_ISA
#endif
