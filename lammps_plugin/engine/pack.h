// Weights in the layouts of the kernels: channels padded, matrices in panels, what layer 1 folds together.
#ifndef TLMD_ENGINE_PACK_H
#define TLMD_ENGINE_PACK_H

#include "painn.h"

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
Dense product(const Dense &a, const Dense &b);

template <class real> class Packed {
 public:
  Packed(const Weights &, int lanes, bool moments);

  // Layer 1 by species: adds q to the blocked state of the atoms, S and T to the blocked inputs of the rows.
  void start(const Pairs &, real *state, real *inputs) const;

  int width;                               // F padded
  std::vector<LayerWeights<real>> layers;  // updates, each with the context network of the layer after it
  std::vector<real> embedding;             // (species, F)
  std::vector<real> species_inputs;        // (species, 2F): S, T of layer 1
  std::vector<real> scale;                 // (species,)
  std::vector<Dense> filters;              // of each layer, (basis, 3F)

 private:
  void fold_first_layer(const Weights &, LayerWeights<real> &);
  Matrix<real> keep(const Dense &, const std::vector<double> &bias = {});
  real *keep(const std::vector<double> &);
  void both_ways(const Linear &, int in_parts, const std::vector<int> &out_parts, int n_out_parts, Matrix<real> &there,
                 Matrix<real> &back);

  int lanes;
  std::deque<Buffer<real>> store;
};

}  // namespace tlmd::engine
#endif
