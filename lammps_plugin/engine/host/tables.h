// Filter tables of the message layers, from rows of basis functions.
#ifndef TLMD_ENGINE_TABLES_H
#define TLMD_ENGINE_TABLES_H

#include "engine/basis.h"
#include "kernels/kernels.h"
#include "packed.h"

namespace tlmd::engine {

template <class real> class Tables {
 public:
  // Of layers first_layer and up; basis (rows, basis functions).
  void build(const Dense &basis, const Packed<real> &packed, const Kernels<real> &, int first_layer);
  const real *block(int layer, int b) const { return tables[layer].data() + b * block_size(); }
  size_t block_size() const { return (size_t) rows * 3 * lanes; }
  size_t bytes() const;
  int rows = 0;

 private:
  int lanes = 0;
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
