// Filter tables of the message layers, from rows of basis functions.
#ifndef TLMD_ENGINE_TABLES_H
#define TLMD_ENGINE_TABLES_H

#include "engine/basis.h"
#include "kernels/kernels.h"
#include "packed.h"

namespace tlmd::engine {

template <class real> class Tables {
 public:
  // Of a layer; basis (rows, basis functions).
  void build(int layer, const Dense &basis, const Packed<real> &packed, const Kernels<real> &);
  const real *block(int layer, int b) const { return tables[layer].data() + b * block_size(layer); }
  size_t block_size(int layer) const { return (size_t) rows[layer] * 3 * lanes; }
  size_t bytes() const;

 private:
  int lanes = 0;
  std::vector<int> rows;             // of each layer
  std::vector<Buffer<real>> tables;  // of each layer, (blocks, rows, 3, lanes)
};

// Rows of basis functions without a spline: each pair has its own, the functions, their slopes and, if wanted, their
// curvatures, to which its bin and its weights are set.
template <class real>
Dense exact_basis(const Basis &, const Pairs &, bool curves, int *bins, PairGeometry<real> *geometry);

// The same of splines.
Dense spline_basis(const Basis &, int n_bins);

}  // namespace tlmd::engine
#endif
