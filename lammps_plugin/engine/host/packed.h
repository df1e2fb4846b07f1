// Weights in the layouts of the kernels: channels padded, matrices in panels, what layer 1 folds together.
#ifndef TLMD_ENGINE_PACKED_H
#define TLMD_ENGINE_PACKED_H

#include "buffer.h"
#include "engine/pairs.h"
#include "kernels/arguments.h"
#include "layout.h"

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

template <class real> class Packed {
 public:
  // moments: layer 1 by them; folded: also through its V and U.
  Packed(const Weights &, int lanes, bool moments, bool folded);
  void set(const Weights &);  // of the same architecture, in the same memory
  void set_head_weights(const std::vector<double> &);

  // Layer 1 by species: adds q to the blocked state of the atoms.
  void start(const Pairs &, real *state) const;
  // phi_s, phi_vs of layer 1, (species, 2, lanes)
  const real *phi_of_species(int block) const { return &species_phi[(size_t) block * n_species * 2 * lanes]; }
  // [W; b] of a layer, (basis, 3, lanes)
  const double *filter(int layer, int block) const { return &filters[layer][(size_t) block * n_basis * 3 * lanes]; }

  int width, lanes, n_species, n_basis, n_layers;  // width F
  std::vector<LayerWeights<real>> layers;
  std::vector<real> embedding;  // (species, F)
  std::vector<real> scale;      // (species,)
  KernelHead<real> head;        // n_out 0: none

 private:
  void set_phi_of_species(const Weights &);
  void set_layer(const Weights &, int layer);
  void set_filter(const Weights::Layer &, int width, std::vector<double> &);
  void fold_first_layer(const Weights &, LayerWeights<real> &);
  void set_head(const Head &);
  real *place(size_t n);
  Matrix<real> keep(const Dense &);
  real *keep(const std::vector<double> &, size_t size);
  DenseLayer<real> both_ways(const Dense &);
  DenseLayer<real> both_ways(const Linear &, const Layout &);

  bool moments, folded;
  std::vector<real> species_phi;             // (blocks, species, 2, lanes)
  std::vector<std::vector<double>> filters;  // of each layer, (blocks, basis, 3, lanes)
  std::vector<real> head_weights;
  std::deque<Buffer<real>> store;
  size_t used = 0;
};

}  // namespace tlmd::engine
#endif
