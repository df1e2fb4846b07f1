// What the kernels of one instruction set read and write: plain arrays, no ownership. The same source is compiled once
// for each instruction set (kernels.cpp) and chosen at run time (isa.cpp).
//
// Channels lie in blocks of `lanes`: an array "(blocks, M, 5, lanes)" holds, block by block, five numbers for each
// channel of each of M rows. Sizes called "padded" are rounded up so that no kernel has a remainder loop.
#ifndef TLMD_ENGINE_KERNELS_H
#define TLMD_ENGINE_KERNELS_H

#include <string>
#include <vector>

namespace tlmd::engine {

constexpr int TILE = 48;         // atoms that pass an update block together; a multiple of every kernel's rows
constexpr int SLACK = TILE + 4;  // rows that arrays of atoms have beyond the last one
constexpr int DEGREE = 6;        // spline weights of a pair: quintic
constexpr int PAD = 32;          // channels and columns of matrices are padded to a multiple of this

inline int padded(int n, int multiple = PAD) { return (n + multiple - 1) / multiple * multiple; }

// A pair i<-j: weights of the spline and of its slope in 1/A, the unit vector from i to j, and 1/d in 1/A.
template <class real> struct PairGeometry {
  real value[DEGREE], slope[DEGREE], unit[3], inverse;
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

// One channel block of a message layer. Inputs of a row: S, T, g_x, g_y, g_z with g = phi_vv mu; sums: q, mu_x, mu_y,
// mu_z. Layer 1: inputs (species, 2, lanes), S and T of each species, and no adjoints of them.
template <class real> struct Message {
  const real *table = nullptr;   // (bins + 5, 3, lanes): filters of S, T, g
  const real *inputs = nullptr;  // (M, 5, lanes)
  real *sums = nullptr;          // (N, 4, lanes), added to (forward); its adjoint (backward, read)
  real *adjoints = nullptr;      // (M, 5, lanes), added to (backward)
  real *slopes = nullptr;        // (pairs, 4) dE/dd and dE/du, added to (backward)
};

// Layer 1, where features depend on the species alone: sums over neighbours of basis functions, species by species.
template <class real> struct Moments {
  const real *table = nullptr;                                // (bins + 5, stride) basis functions
  int n_basis = 0, stride = 0, width = 0;                     // width = species * n_basis
  int pitch = 0, ld = 0;                                      // numbers from row to row of the sums and of the adjoints
  real *scalar = nullptr, *vector = nullptr;                  // (N, pitch) and (N, 3, pitch)
  real *scalar_adjoint = nullptr, *vector_adjoint = nullptr;  // (N, ld), (N, 3, ld)
  real *slopes = nullptr;                                     // (pairs, 4), added to
};

template <class real> struct LayerWeights {
  Matrix<real> mix, mix_t;            // F -> 2F: V, U
  Matrix<real> update0, update0_t;    // 2F -> F
  Matrix<real> update2, update2_t;    // F -> 3F: ss, vv, sv (last layer 2F: ss, sv)
  Matrix<real> context0, context0_t;  // F -> F, of the next layer's message (last layer: readout, F -> F/2)
  Matrix<real> context2, context2_t;  // F -> 3F
  // layer 1 by moments: to q, mu, and V, U (null in training, where mu goes through `mix`)
  Matrix<real> scalar, scalar_t, vector, vector_t, folded, folded_t;
  const real *energy = nullptr;  // (F/2 padded,) last layer
  double energy_bias = 0.0;
  real epsilon2 = 0;  // |V| is sqrt(V^2 + epsilon2)
};

// What the update of one layer keeps of each atom for the reverse pass; F is padded. In training also what the tangents
// need of the evaluation, and the same of the tangents; else these places are null.
template <class real> struct LayerStore {
  real *vu = nullptr;                                        // (N, 3, 2F)
  real *hidden = nullptr;                                    // (N, F) before the activation
  real *mixed = nullptr;                                     // (N, 3F)
  real *context = nullptr;                                   // (N, F) before the activation
  real *phi_vv = nullptr;                                    // (N, F)
  real *mu = nullptr;                                        // (N, 3, F) after the layer
  real *q_in = nullptr, *mu_in = nullptr, *q_out = nullptr;  // (N, F), (N, 3, F) before, (N, F) after the layer
  // adjoints: of the activations of context and hidden (N, F), of q after the layer (N, F), of q and |V| (N, 2F)
  real *context_adjoint = nullptr, *update_adjoint = nullptr, *q_adjoint = nullptr, *scalar_adjoint = nullptr;
};

template <class real> struct Update {
  int width = 0, n_rows = 0, n_owned = 0;  // F padded, M, N
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
  const real *scale = nullptr;     // (species,)
  double *energies = nullptr;      // (N,) last layer: the network's output
  real *features = nullptr;        // (N, F) scalar features after this layer, if wanted
  const real *injected = nullptr;  // (N, F) adjoints of these from a kernel head, or null
  real *scratch = nullptr;         // scratch_size(width) numbers, of one thread
};

enum Function { LINEAR, FOURIER, GAUSSIAN, POLYNOMIAL };

// What head.h reads and writes; n_in = n_layers * F, n_out padded.
template <class real> struct KernelFunctions {
  Function function = LINEAR;
  real parameter = 0;                               // gaussian: 1 / (2 length^2); polynomial: degree
  int width = 0, n_layers = 0, n_out = 0;           // F padded
  int n_weights = 0;                                // of a species: fourier n_out cosines, n_out sines; else n_out
  Matrix<real> there, back;                         // n_in -> n_out with bias, and n_out -> n_in
  const real *shift = nullptr, *factor = nullptr;   // (species, n_in)
  const real *weights = nullptr, *scale = nullptr;  // (species, n_weights), (species,)
  const real *const *features = nullptr;            // of each layer (N, F)
  real *const *adjoints = nullptr;                  // the same of dE/d(them)
  const int *species = nullptr;
  double *energies = nullptr;  // (N,) added to
  real *scratch = nullptr;     // head_scratch_size numbers, of one thread
};

// A value and its tangent: arrays of the same shape.
template <class real> struct Twin {
  real *v = nullptr, *t = nullptr;
};

// One channel block of a message layer's tangents; shapes as in Message.
template <class real> struct TrainMessage {
  const real *table = nullptr, *changes = nullptr;  // changes (pairs, 4): of the distance in A and of the unit vector
  Twin<const real> inputs;                          // layer 1: no tangents
  Twin<real> sums;                                  // forward: tangents, added to; backward: adjoints, read
  real *adjoints = nullptr;                         // tangents, added to; layer 1: (species, 2, lanes)
  real *table_gradient = nullptr;                   // as table, added to; null: not wanted
  const real *bends = nullptr;                      // (pairs, DEGREE) changes of the spline weights of the slope
  real *slopes = nullptr;                           // tangents, added to; null: not wanted
};

// Of one layer and one thread; weights (in, out) as the matrices before packing, added to. Null: not wanted.
template <class real> struct TrainGradients {
  real *mix = nullptr, *update0 = nullptr, *update0_bias = nullptr, *update2 = nullptr, *update2_bias = nullptr;
  real *context0 = nullptr, *context0_bias = nullptr, *context2 = nullptr, *context2_bias = nullptr;
  real *energy = nullptr, *energy_bias = nullptr;  // last layer
  real *scalar = nullptr, *vector = nullptr;       // layer 1 by moments: (padded moments, F)
};

template <class real> struct TrainUpdate {
  int width = 0, n_atoms = 0;
  bool last = false;
  const LayerWeights<real> *weights = nullptr;
  LayerStore<real> store, store_t;  // of values and tangents
  real *state = nullptr;            // tangents; forward in and out, backward of the adjoints, in and out
  real *inputs = nullptr;           // tangents
  Twin<real> adjoints;              // of the next layer's inputs
  real *outer = nullptr;            // values of the adjoints of q, mu after this layer, but for what is in `adjoints`
  const Moments<real> *moments = nullptr, *moments_t = nullptr;  // layer 1 by moments: values and tangents
  real *inner = nullptr;  // layer 1 by moments: values of the adjoints of q, mu before the layer
  bool deeper = true;     // whether more than the gradients of context0, context2 and energy is wanted
  const int *species = nullptr;
  const real *scale = nullptr;    // (species,)
  const double *seeds = nullptr;  // (N,) weight of each atom's energy
  double *energies_t = nullptr;   // (N,) last layer: the network's output
  TrainGradients<real> gradients;
  real *scratch = nullptr;  // train_scratch_size(width) numbers, of one thread
};

template <class real> struct Kernels {
  int lanes = 0;  // channels in a block
  void (*pair_geometry)(const double *vectors, int n, int n_bins, double cutoff, int *bin,
                        PairGeometry<real> *) = nullptr;
  // each of layer 2 and up, and of layer 1
  void (*message_forward[2])(const PairList<real> &, const Message<real> &) = {};
  void (*message_backward[2])(const PairList<real> &, const Message<real> &) = {};
  // atoms first .. end-1 get their sums; pairs first .. end-1 get their slopes
  void (*moments_forward)(const PairList<real> &, const Moments<real> &, int first, int end) = nullptr;
  void (*moments_backward)(const PairList<real> &, const Moments<real> &, int first, int end) = nullptr;
  void (*moments_tangent)(const PairList<real> &, const Moments<real> &, const real *changes, int first,
                          int end) = nullptr;
  void (*moments_tangent_backward)(const PairList<real> &, const Moments<real> &, const Moments<real> &tangents,
                                   const real *changes, const real *bends, int first, int end) = nullptr;
  // atoms first .. first+count-1, count <= TILE
  void (*update_forward)(const Update<real> &, int first, int count) = nullptr;
  void (*update_backward)(const Update<real> &, int first, int count) = nullptr;
  void (*train_message_forward[2])(const PairList<real> &, const TrainMessage<real> &) = {};
  void (*train_message_backward[2])(const PairList<real> &, const TrainMessage<real> &) = {};
  void (*train_forward)(const TrainUpdate<real> &, int first, int count) = nullptr;
  void (*train_backward)(const TrainUpdate<real> &, int first, int count) = nullptr;
  void (*kernel_head)(const KernelFunctions<real> &, int first, int count) = nullptr;
  // The filter table of one channel block (rows, 3, lanes) from basis functions (rows, n_basis) and filters (n_basis,
  // 3, lanes), and in reverse.
  void (*make_table)(const double *basis, int rows, int n_basis, const double *filters, real *table) = nullptr;
  void (*table_back)(const double *basis, int rows, int n_basis, const real *table, double *filters) = nullptr;
};

inline size_t scratch_size(int width) { return (size_t) TILE * 16 * width; }
inline size_t head_scratch_size(int n_in, int n_out) { return (size_t) TILE * (2 * n_in + n_out); }
inline size_t train_scratch_size(int width) { return (size_t) TILE * 33 * width; }

// "avx512", "avx2" or "portable"; "auto" takes the best of this processor, or TLMD_ISA from the environment. Throws
// std::runtime_error if the processor lacks it.
std::string choose_isa(const std::string &wanted);
std::vector<std::string> available_isas();
template <class real> Kernels<real> kernels_of(const std::string &isa);

}  // namespace tlmd::engine
#endif
