// Weights in the layouts of the kernels: channels padded, matrices in panels, what layer 1 folds together.
#ifndef TLMD_ENGINE_PACK_H
#define TLMD_ENGINE_PACK_H

#include "engine/painn.h"

#include <deque>

namespace tlmd::engine {

// Row-major (rows, columns) in float64.
struct Dense {
  int rows = 0, columns = 0;
  std::vector<double> values;

  Dense(int rows, int columns) : rows(rows), columns(columns), values((size_t) rows * columns) {}
  double &at(int r, int c) { return values[(size_t) r * columns + c]; }
  double at(int r, int c) const { return values[(size_t) r * columns + c]; }
};

// How the matrix (in, out) of a layer lies in the engine: inputs and outputs are parts of equal width, each padded; of
// the outputs those parts that `out_parts` names.
struct Layout {
  int in_parts = 1;
  std::vector<int> out_parts = {0};
  int n_out_parts = 1;

  int rows(const Linear &l) const { return in_parts * padded(l.n_in / in_parts); }
  int columns(const Linear &l) const { return (int) out_parts.size() * padded(l.n_out / n_out_parts); }
};
inline Layout mix_layout() { return {1, {0, 1}, 2}; }
inline Layout update0_layout() { return {2, {0}, 1}; }
inline Layout update2_layout(bool last) { return {1, last ? std::vector<int>{0, 2} : std::vector<int>{0, 1, 2}, 3}; }
inline Layout context2_layout() { return {1, {0, 1, 2}, 3}; }

// A layer's gradients in PyTorch's layout from sums (rows, columns), or (columns,) of the bias, of each thread.
template <class real>
std::vector<real> unpacked_weight(const Linear &, const Layout &, const std::vector<const real *> &sums);
template <class real>
std::vector<real> unpacked_bias(const Linear &, const Layout &, const std::vector<const real *> &sums);

template <class real> class Packed {
 public:
  // moments: layer 1 by them; folded: also through its mixing.
  Packed(const Weights &, int lanes, bool moments, bool folded);
  void set(const Weights &);  // of the same architecture, in the same memory

  // Layer 1 by species: adds q to the blocked state of the atoms.
  void start(const Pairs &, real *state) const;
  const real *inputs_of_species(int block) const { return &species_inputs[(size_t) block * n_species * 2 * lanes]; }
  const double *filter(int layer, int block) const { return &filters[layer][(size_t) block * n_basis * 3 * lanes]; }

  int width, lanes, n_species, n_basis, n_layers;  // F padded
  std::vector<LayerWeights<real>> layers;          // updates, each with the context network of the layer after it
  std::vector<real> embedding;                     // (species, F)
  std::vector<real> species_inputs;                // (blocks, species, 2, lanes): S, T of layer 1
  std::vector<real> scale;                         // (species,)
  std::vector<std::vector<double>> filters;        // of each layer, (blocks, basis, 3, lanes)
  KernelFunctions<real> head;                      // n_out 0: none
  void set_head_weights(const std::vector<double> &);

 private:
  void set_filter(const Weights::Layer &, int width, std::vector<double> &);
  void fold_first_layer(const Weights &, LayerWeights<real> &);
  void set_head(const Head &);
  real *place(size_t n);
  Matrix<real> keep(const Dense &);
  real *keep(const std::vector<double> &, size_t size);
  void both_ways(const Linear &, const Layout &, Matrix<real> &there, Matrix<real> &back);

  bool moments, folded;
  std::vector<real> head_weights;
  std::deque<Buffer<real>> store;
  size_t used = 0;
};

}  // namespace tlmd::engine
#endif
