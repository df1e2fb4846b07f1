#include "tables.h"

#include <algorithm>
#include <cmath>

namespace tlmd::engine {

template <class real>
void Tables<real>::build(int layer, const Dense &basis, const Packed<real> &packed, const Kernels<real> &kernels) {
  lanes = kernels.lanes;
  tables.resize(packed.n_layers);
  rows.resize(packed.n_layers);
  rows[layer] = basis.rows;
  const int n_blocks = packed.width / lanes;
  const size_t size = block_size(layer);
  real *table = tables[layer].reserve(n_blocks * size);
  for (int b = 0; b < n_blocks; b++)
    kernels.make_table(basis.values.data(), basis.rows, basis.columns, packed.filter(layer, b), table + b * size);
}

template <class real> size_t Tables<real>::bytes() const {
  size_t n = 0;
  for (const auto &table : tables) n += table.bytes();
  return n;
}

template <class real>
Dense exact_basis(const Basis &basis, const Pairs &pairs, bool curves, int *bins, PairGeometry<real> *geometry) {
  const int n_pairs = (int) pairs.neighbour.size(), rows_each = curves ? 3 : 2;
  Dense rows(rows_each * n_pairs + SPLINE_WEIGHTS, basis.size());
  for (int p = 0; p < n_pairs; p++) {
    const double *r = &pairs.vectors[3 * (size_t) p];
    const int row = bins[p] = rows_each * p;
    basis.evaluate(std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]), &rows.at(row, 0), &rows.at(row + 1, 0),
                   curves ? &rows.at(row + 2, 0) : nullptr);
    PairGeometry<real> &g = geometry[p];
    std::fill_n(g.value, SPLINE_WEIGHTS, real(0));
    std::fill_n(g.slope, SPLINE_WEIGHTS, real(0));
    g.value[0] = g.slope[1] = 1;
  }
  return rows;
}

Dense spline_basis(const Basis &basis, int n_bins) {
  Dense rows(n_bins + SPLINE_WEIGHTS - 1, basis.size());
  rows.values = basis.fit(n_bins);
  return rows;
}

template class Tables<float>;
template class Tables<double>;
template Dense exact_basis(const Basis &, const Pairs &, bool, int *, PairGeometry<float> *);
template Dense exact_basis(const Basis &, const Pairs &, bool, int *, PairGeometry<double> *);

}  // namespace tlmd::engine
