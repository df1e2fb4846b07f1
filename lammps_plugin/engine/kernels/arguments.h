// The arguments of the kernels: what each reads and writes, in the arrays of arrays.h.
#ifndef TLMD_ENGINE_ARGUMENTS_H
#define TLMD_ENGINE_ARGUMENTS_H

#include "arrays.h"

#include "engine/function.h"

namespace tlmd::engine {

// One channel block of a message layer. Inputs of a row: phi_s, phi_vs and the three components of phi_vv mu; sums: q,
// mu_x, mu_y, mu_z. Layer 1: inputs (species, 2, lanes), phi_s and phi_vs of each species, and no adjoints of them.
template <class real> struct Message {
  const real *table = nullptr;   // (bins + 5, 3, lanes): W_s, W_vs, W_vv
  const real *inputs = nullptr;  // (M, 5, lanes)
  real *sums = nullptr;          // (N, 4, lanes), added to (forward); its adjoint (backward, read)
  real *adjoints = nullptr;      // (M, 5, lanes), added to (backward)
  real *slopes = nullptr;        // (pairs, 4) dE/dd and dE/du, added to (backward)
};

// What the heat flux adds to the adjoints of one block's inputs, see message_flux.
template <class real> struct MessageFlux {
  const real *table = nullptr, *sums = nullptr;  // sums: the energy's adjoints of them
  real *adjoints[3] = {};                        // of each component, added to
};

// The update of one layer.
template <class real> struct Update {
  int width = 0, n_rows = 0, n_owned = 0;  // F, M, N
  bool last = false;
  const LayerWeights<real> *weights = nullptr;
  LayerStore<real> store;
  real *state = nullptr;                   // (blocks, N, 4, lanes): q, mu; forward in and out, backward their adjoints
  real *state_back = nullptr;              // where the reverse pass writes these
  real *inputs = nullptr;                  // (blocks, M, 5, lanes) of the next layer
  real *adjoints = nullptr;                // the same of their adjoints
  const Moments<real> *moments = nullptr;  // layer 1 by moments, else null
  const real *embedding = nullptr;         // (species, F), with moments
  const int *species = nullptr;
  const real *scale = nullptr;         // (species,)
  double *energies = nullptr;          // (N,) last layer: the network's output
  real *features = nullptr;            // (N, F) scalar features after this layer, if wanted
  const real *head_adjoint = nullptr;  // (N, F) adjoints of these from a kernel head, or null
  real *scratch = nullptr;             // scratch_size(width) numbers, of one thread
};

// The kernel head; n_in = n_layers * F, n_out padded.
template <class real> struct KernelHead {
  Function function = LINEAR;
  real parameter = 0;                               // as Head's
  int width = 0, n_layers = 0, n_out = 0;           // width F
  int n_weights = 0;                                // of a species: fourier n_out cosines, n_out sines; else n_out
  DenseLayer<real> points;                          // n_in -> n_out with bias
  const real *shift = nullptr, *factor = nullptr;   // (species, n_in)
  const real *weights = nullptr, *scale = nullptr;  // (species, n_weights), (species,)
  const real *const *features = nullptr;            // of each layer (N, F)
  real *const *adjoints = nullptr;                  // the same of dE/d(them)
  const int *species = nullptr;
  double *energies = nullptr;  // (N,) added to
  real *scratch = nullptr;     // head_scratch_size numbers, of one thread
};

// One channel block of a message layer's tangents; shapes as in Message.
template <class real> struct TrainMessage {
  const real *table = nullptr, *changes = nullptr;  // changes (pairs, 4): of the distance in A and of the unit vector
  Dual<const real *> inputs;                        // layer 1: no tangents
  Dual<real *> sums;                                // forward: tangents, added to; backward: adjoints, read
  real *adjoints = nullptr;                         // tangents, added to; layer 1: (species, 2, lanes)
  real *table_gradient = nullptr;                   // as table, added to; null: not wanted
  const real *slope_changes = nullptr;              // (pairs, SPLINE_WEIGHTS) changes of the slope's spline weights
  real *slopes = nullptr;                           // tangents, added to; null: not wanted
};

// Of one layer and one thread; weights (in, out) as the matrices before packing, added to. Null: not wanted.
template <class real> struct TrainGradients {
  real *VU = nullptr, *a0 = nullptr, *a0_bias = nullptr, *a2 = nullptr, *a2_bias = nullptr;
  real *phi0 = nullptr, *phi0_bias = nullptr, *phi2 = nullptr, *phi2_bias = nullptr;
  real *energy = nullptr, *energy_bias = nullptr;    // last layer
  real *moments_q = nullptr, *moments_mu = nullptr;  // layer 1 by moments: (padded moments, F)
};

// The tangents of the update of one layer.
template <class real> struct TrainUpdate {
  int width = 0, n_atoms = 0;  // F, N
  bool last = false;
  const LayerWeights<real> *weights = nullptr;
  Dual<LayerStore<real>> store;
  real *state = nullptr;                 // tangents; forward in and out, backward of the adjoints, in and out
  real *inputs = nullptr;                // tangents
  Dual<real *> adjoints;                 // of the next layer's inputs
  real *state_adjoint_after = nullptr;   // values: of q, mu after this layer, but for what is in `adjoints`
  Dual<const Moments<real> *> moments;   // layer 1 by moments, else null
  real *state_adjoint_before = nullptr;  // values, layer 1 by moments: of q, mu before the update
  bool update_wanted = true;             // whether more than the gradients of phi0, phi2 and energy is wanted
  const int *species = nullptr;
  const real *scale = nullptr;    // (species,)
  const double *seeds = nullptr;  // (N,) weight of each atom's energy
  double *energies_t = nullptr;   // (N,) last layer: tangents of the network's output
  TrainGradients<real> gradients;
  real *scratch = nullptr;  // train_scratch_size(width) numbers, of one thread
};

inline size_t scratch_size(int width) { return (size_t) TILE * 16 * width; }
inline size_t head_scratch_size(int n_in, int n_out) { return (size_t) TILE * (2 * n_in + n_out); }
inline size_t train_scratch_size(int width) { return (size_t) TILE * 33 * width; }

}  // namespace tlmd::engine
#endif
