// The kernels of D3 and their arguments: the pairs of one atom with atoms of one species.
#ifndef TLMD_ENGINE_D3_KERNELS_H
#define TLMD_ENGINE_D3_KERNELS_H

namespace tlmd::engine {

// Arrays (n,), n a multiple of the lanes. C6 = c6 + sum over w of change[w] weight[w]; its slope by the coordination
// number of the centre is the same of slope and slope_change, that of the partner has weight_slope for weight.
// Energy: -C6 (s6 / (r^6 + d6) + s8 / (r^8 + d8)), with zero damping -C6 r^8 (s6 / (r^14 + d6) + s8 / (r^16 + d8)).
template <class real> struct D3Pairs {
  int n = 0, n_weights = 0;
  real s6, s8, d6, d8;
  real c6, slope;
  const real *change, *slope_change;     // (n_weights,)
  const real *r[3];                      // A, from the partner to the centre
  const real *const *weight;             // (n_weights,) of arrays
  const real *const *weight_slope;       // the same
  real *energy, *force[3], *by_partner;  // written: eV; eV/A on the centre; slope by the partner's coordination number
  real sums[11];                         // energy, force, virial, slope by the centre's coordination number
};

// count = 1 / (1 + exp(-steepness (radius / r - 1))); by_square: its slope by r^2.
template <class real> struct D3Counts {
  int n = 0;
  real steepness, radius;   // A
  const real *r[3];         // A
  real *count, *by_square;  // written
};

struct D3Kernels {
  int lanes = 0;
  void (*counts)(const D3Counts<double> &) = nullptr;
  void (*pairs[2][2])(D3Pairs<double> &) = {};  // [Becke-Johnson's damping, else zero][with slopes]
};

}  // namespace tlmd::engine
#endif
