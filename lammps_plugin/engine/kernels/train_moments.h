// Tangents of layer 1's moments, along changes (pairs, 4) of the distances and unit vectors.
#ifndef TLMD_ENGINE_TRAIN_MOMENTS_H
#define TLMD_ENGINE_TRAIN_MOMENTS_H

#include "moments.h"

namespace tlmd::engine::TLMD_ISA {

template <class real>
static void train_moments_forward(const PairList<real> &the_pairs, const Moments<real> &the_moments,
                                  const real *changes, int first, int end) {
  const PairList<real> pairs = the_pairs;
  const Moments<real> m = the_moments;
  for (int i = 0; i < pairs.n_atoms; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const Receivers adds_to(pairs, i, p, first, end);
      if (!adds_to.i && !adds_to.j) continue;
      const int j = pairs.neighbour[p];
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *row = m.table + (size_t) pairs.bin[p] * m.stride, *change = changes + 4 * (size_t) p;
      for (int c = 0; c < m.stride; c += lanes<real>) {
        const vec<real> basis = spline(geometry.value, row + c, m.stride);
        const vec<real> basis_t = change[0] * spline(geometry.slope, row + c, m.stride);
        for (const bool to_j : {false, true}) {
          if (!(to_j ? adds_to.j : adds_to.i)) continue;
          const int atom = to_j ? j : i, species = pairs.species[to_j ? i : j];
          const real sign = to_j ? -1 : 1;
          add_moment<real>(m, atom, species, c, basis_t, geometry.unit, sign);
          add_vectors<real>(m, atom, species, c, basis, change + 1, sign);
        }
      }
    }
}

// The tangents of the slopes, from those of the adjoints and the changes (pairs, SPLINE_WEIGHTS) of the slopes'
// weights.
template <class real>
static void train_moments_backward(const PairList<real> &the_pairs, const Dual<Moments<real>> &the_moments,
                                   const real *changes, const real *slope_changes, int first, int end) {
  const PairList<real> pairs = the_pairs;
  const Moments<real> m = the_moments.v, m_t = the_moments.t;
  for (int i = first; i < end; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const int j = pairs.neighbour[p];
      const bool shared = p < pairs.directed[i];
      const real *row = m.table + (size_t) pairs.bin[p] * m.stride;
      const real *slope_change = slope_changes + SPLINE_WEIGHTS * (size_t) p;
      const real *u = geometry.unit, *change = changes + 4 * (size_t) p;
      vec<real> slope_t{}, sum[3] = {};
      for (int c = 0; c < m.stride; c += lanes<real>) {
        const size_t at_i = (size_t) pairs.species[j] * m.n_basis + c, at_j = (size_t) pairs.species[i] * m.n_basis + c;
        const vec<real> basis = spline(geometry.value, row + c, m.stride);
        const vec<real> slope = spline(geometry.slope, row + c, m.stride);
        const MomentAdjoints<real> x(m, i, j, shared, at_i, at_j), x_t(m_t, i, j, shared, at_i, at_j);
        vec<real> along = x.scalar, along_t = x_t.scalar;
        for (int k = 0; k < 3; k++) {
          sum[k] += change[0] * slope * x.vector[k] + basis * x_t.vector[k];
          along += u[k] * x.vector[k];
          along_t += u[k] * x_t.vector[k] + change[1 + k] * x.vector[k];
        }
        slope_t += spline(slope_change, row + c, m.stride) * along + slope * along_t;
      }
      add_sums<real>(m_t.slopes + 4 * (size_t) p, slope_t, sum[0], sum[1], sum[2]);
    }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
