// Layer 1. Features depend on the species alone and vectors are zero, so that messages are linear in the moments
// D[z][n] = sum_{j of species z} basis_n(d_ij) and Dv[k][z][n] = sum_j u_k basis_n(d_ij).
// Rows are read and written a whole vector at a time, over the end of a species, where the table is zero, but not over
// the end of an atom, which may be another thread's.
#ifndef TLMD_ENGINE_MOMENTS_H
#define TLMD_ENGINE_MOMENTS_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> static inline vec<real> spline(const real *weights, const real *row, int stride) {
  vec<real> sum{};
#pragma GCC unroll 6
  for (int k = 0; k < SPLINE_WEIGHTS; k++) sum += weights[k] * load(row + (size_t) k * stride);
  return sum;
}

template <class real>
static inline void add_vectors(const Moments<real> &m, size_t atom, int species, int c, vec<real> basis, const real *u,
                               real sign) {
  const size_t column = (size_t) species * m.n_basis + c;
  for (int k = 0; k < 3; k++) add_to(m.vector + (atom * 3 + k) * m.pitch + column, basis * (sign * u[k]));
}

template <class real>
static inline void add_moment(const Moments<real> &m, size_t atom, int species, int c, vec<real> basis, const real *u,
                              real sign) {
  add_to(m.scalar + atom * m.pitch + (size_t) species * m.n_basis + c, basis);
  add_vectors<real>(m, atom, species, c, basis, u, sign);
}

// Which sums of a pair are those of atoms first .. end-1. Every thread reads all pairs and adds to its own atoms only:
// the sums do not depend on the number of threads.
struct Receivers {
  bool i, j;

  template <class real>
  inline Receivers(const PairList<real> &pairs, int atom_i, int p, int first, int end)
      : i(atom_i >= first && atom_i < end),
        j(p < pairs.directed[atom_i] && pairs.neighbour[p] >= first && pairs.neighbour[p] < end) {}
};

template <class real>
static void moments_forward(const PairList<real> &the_pairs, const Moments<real> &the_moments, int first, int end) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Moments<real> m = the_moments;
  for (int i = 0; i < pairs.n_atoms; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const Receivers adds_to(pairs, i, p, first, end);
      if (!adds_to.i && !adds_to.j) continue;
      const int j = pairs.neighbour[p];
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *row = m.table + (size_t) pairs.bin[p] * m.stride;
      for (int c = 0; c < m.stride; c += lanes<real>) {
        const vec<real> basis = spline(geometry.value, row + c, m.stride);
        if (adds_to.i) add_moment<real>(m, i, pairs.species[j], c, basis, geometry.unit, 1);
        if (adds_to.j) add_moment<real>(m, j, pairs.species[i], c, basis, geometry.unit, -1);
      }
    }
}

// Adjoints of what a pair, of both directions if it is shared, adds to the moments of one basis vector.
template <class real> struct MomentAdjoints {
  vec<real> scalar, vector[3];

  inline MomentAdjoints(const Moments<real> &m, size_t i, size_t j, bool shared, size_t at_i, size_t at_j) {
    scalar = load(m.scalar_adjoint + i * m.adjoint_pitch + at_i);
    if (shared) scalar += load(m.scalar_adjoint + j * m.adjoint_pitch + at_j);
    for (int k = 0; k < 3; k++) {
      vector[k] = load(m.vector_adjoint + (i * 3 + k) * m.adjoint_pitch + at_i);
      if (shared) vector[k] -= load(m.vector_adjoint + (j * 3 + k) * m.adjoint_pitch + at_j);
    }
  }
};

template <class real>
static void moments_backward(const PairList<real> &the_pairs, const Moments<real> &the_moments, int first, int end) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Moments<real> m = the_moments;
  for (int i = first; i < end; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const int j = pairs.neighbour[p];
      const bool shared = p < pairs.directed[i];
      const real *row = m.table + (size_t) pairs.bin[p] * m.stride, *u = geometry.unit;
      vec<real> slope{}, sum[3] = {};
      for (int c = 0; c < m.stride; c += lanes<real>) {
        const size_t at_i = (size_t) pairs.species[j] * m.n_basis + c, at_j = (size_t) pairs.species[i] * m.n_basis + c;
        const vec<real> basis = spline(geometry.value, row + c, m.stride);
        const MomentAdjoints<real> x(m, i, j, shared, at_i, at_j);
        vec<real> along = x.scalar;
        for (int k = 0; k < 3; k++) {
          sum[k] += basis * x.vector[k];
          along += u[k] * x.vector[k];
        }
        slope += spline(geometry.slope, row + c, m.stride) * along;
      }
      add_sums<real>(m.slopes + 4 * (size_t) p, slope, sum[0], sum[1], sum[2]);
    }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
