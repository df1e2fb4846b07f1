// The arrays of the kernels: plain memory, no ownership.
//
// Channels lie in blocks of `lanes`: an array "(blocks, M, 5, lanes)" holds, block by block, five numbers for each
// channel of each of M rows. Sizes called "padded" are rounded up so that no kernel has a remainder loop.
// F: channels, padded. N: atoms of this rank. M: these and the ghosts.
#ifndef TLMD_ENGINE_ARRAYS_H
#define TLMD_ENGINE_ARRAYS_H

#include <cstddef>

namespace tlmd::engine {

constexpr int TILE = 48;           // atoms that pass an update block together; a multiple of every kernel's rows
constexpr int SLACK = TILE + 4;    // rows that arrays of atoms have beyond the last one
constexpr int SPLINE_WEIGHTS = 6;  // B-splines of degree 5 that are not zero in a bin
constexpr int PAD = 32;            // channels and columns of matrices are padded to a multiple of this

inline int padded(int n, int multiple = PAD) { return (n + multiple - 1) / multiple * multiple; }

// A value and its tangent, the derivative along the given changes of the pair vectors.
template <class T> struct Dual {
  T v{}, t{};
};

// A pair i<-j: weights of the spline and of its slope in 1/A, the unit vector from i to j, and 1/d in 1/A.
template <class real> struct PairGeometry {
  real value[SPLINE_WEIGHTS], slope[SPLINE_WEIGHTS], unit[3], inverse;
};

// Pairs by centre: those of atom i are first[i] .. first[i+1]-1; before directed[i] they stand for both directions.
template <class real> struct PairList {
  int n_atoms = 0;
  const int *first = nullptr, *directed = nullptr, *neighbour = nullptr, *bin = nullptr, *species = nullptr;
  const PairGeometry<real> *geometry = nullptr;
};

// y (rows, n) = x (rows, k) W + bias; packed W: panels (k, 2 lanes) of columns. n is padded.
template <class real> struct Matrix {
  const real *packed = nullptr, *bias = nullptr;
  int k = 0, n = 0;
};

// A dense layer, and its transpose, which takes adjoints back.
template <class real> struct DenseLayer {
  Matrix<real> forward, reverse;
};

// The dense layers of an update and of what follows it.
template <class real> struct LayerWeights {
  DenseLayer<real> VU;          // F -> 2F: V mu, U mu
  DenseLayer<real> a0, a2;      // 2F -> F -> 3F: a_ss, a_vv, a_sv (last layer 2F: a_ss, a_sv)
  DenseLayer<real> phi0, phi2;  // F -> F -> 3F: phi of the next layer (last layer: phi0 is the readout's F -> F/2)
  // layer 1 by moments: to q, to mu, and to V mu, U mu (in training null: mu goes through VU)
  DenseLayer<real> moments_q, moments_mu, moments_VU;
  const real *energy = nullptr;  // (F/2 padded,) last layer
  double energy_bias = 0.0;
  real epsilon2 = 0;  // |V| is sqrt(V^2 + epsilon2)
};

// What the update of one layer keeps of each atom for the reverse pass. In training also what the tangents need of the
// evaluation, and the same of the tangents; else these places are null.
template <class real> struct LayerStore {
  real *VU = nullptr;                                        // (N, 3, 2F) V mu, U mu
  real *a_hidden = nullptr;                                  // (N, F) before the activation
  real *a = nullptr;                                         // (N, 3F) a_ss, a_vv, a_sv
  real *phi_hidden = nullptr;                                // (N, F) before the activation
  real *phi_vv = nullptr;                                    // (N, F)
  real *mu = nullptr;                                        // (N, 3, F) after the layer
  real *q_in = nullptr, *mu_in = nullptr, *q_out = nullptr;  // (N, F), (N, 3, F) before, (N, F) after the layer
  // adjoints: of the activated phi_hidden and a_hidden (N, F), of q after the layer (N, F), of q and |V| (N, 2F)
  real *phi_active_adjoint = nullptr, *a_active_adjoint = nullptr, *q_adjoint = nullptr, *q_norm_adjoint = nullptr;
};

// Layer 1, where features depend on the species alone: sums over neighbours of basis functions, species by species.
template <class real> struct Moments {
  const real *table = nullptr;                                // (bins + 5, stride) basis functions
  int n_basis = 0, stride = 0, width = 0;                     // width = species * n_basis
  int pitch = 0, adjoint_pitch = 0;                           // numbers from row to row of the sums, of the adjoints
  real *scalar = nullptr, *vector = nullptr;                  // (N, pitch) and (N, 3, pitch)
  real *scalar_adjoint = nullptr, *vector_adjoint = nullptr;  // (N, adjoint_pitch), (N, 3, adjoint_pitch)
  real *slopes = nullptr;                                     // (pairs, 4), added to
};

}  // namespace tlmd::engine
#endif
