// Gradients of the filters W of the messages, from those of their tables.
#ifndef TLMD_ENGINE_FILTER_GRADIENTS_H
#define TLMD_ENGINE_FILTER_GRADIENTS_H

#include "dense_gradients.h"
#include "tables.h"

namespace tlmd::engine {

template <class real> class FilterGradients {
 public:
  explicit FilterGradients(int n_layers) : is_wanted(n_layers), tables(n_layers) {}

  template <class Wanted> void choose(const Wanted &wanted) {
    for (size_t l = 0; l < is_wanted.size(); l++)
      is_wanted[l] = wanted(name_of((int) l) + ".weight") || wanted(name_of((int) l) + ".bias");
  }
  bool wanted(int l) const { return is_wanted[l]; }

  // The gradient of a layer's table, (blocks, rows, 3, lanes), null if it is not wanted.
  real *table(int l, size_t size) { return is_wanted[l] ? tables[l].reserve(size) : nullptr; }

  // Layer 1 by moments: from the gradients of the product of filter and phi.
  void from_moments(const Packed<real> &packed, const DenseGradients<real> &sums) {
    const int lanes = packed.lanes, n_basis = packed.n_basis;
    first_layer.assign((size_t) packed.width * n_basis * 3, 0.0);
    sums.for_moments(packed.n_species, n_basis, [&](int z, int k, int part, int c, real gradient) {
      const int b = c / lanes, lane = c % lanes;
      first_layer[((size_t) (b * n_basis + k) * 3 + part) * lanes + lane] +=
          (double) gradient * packed.phi_of_species(b)[(z * 2 + part) * lanes + lane];
    });
  }

  // put(name, values) of a layer of F channels; basis (rows, basis functions) of the tables
  template <class Put>
  void put(const Put &put, int l, int f, const Dense &basis, const Packed<real> &packed, const Kernels<real> &kernels,
           bool by_moments) const {
    const int lanes = packed.lanes, n_basis = packed.n_basis, n_radial = n_basis - 1;
    const size_t block = (size_t) n_basis * 3 * lanes, table_block = (size_t) basis.rows * 3 * lanes;
    std::vector<real> weight((size_t) 3 * f * n_radial), bias(3 * f);
    std::vector<double> filter(block);
    for (int b = 0; b < packed.width / lanes; b++) {
      if (l == 0 && by_moments) {
        std::copy_n(&first_layer[b * block], block, filter.data());
      } else {
        std::fill(filter.begin(), filter.end(), 0.0);
        kernels.table_back(basis.values.data(), basis.rows, n_basis, tables[l].data() + b * table_block, filter.data());
      }
      for (int part = 0; part < 3; part++)
        for (int lane = 0; lane < std::min(lanes, f - b * lanes); lane++) {
          const int row = part * f + b * lanes + lane;
          const double *column = &filter[part * lanes + lane];
          for (int k = 0; k < n_radial; k++) weight[(size_t) row * n_radial + k] = (real) column[k * 3 * lanes];
          bias[row] = (real) column[n_radial * 3 * lanes];
        }
    }
    put(name_of(l) + ".weight", std::move(weight));
    put(name_of(l) + ".bias", std::move(bias));
  }

  size_t bytes() const {
    size_t sum = 0;
    for (const auto &table : tables) sum += table.bytes();
    return sum;
  }

 private:
  static std::string name_of(int l) { return "net.messages." + std::to_string(l) + ".filter"; }

  std::vector<char> is_wanted;       // of each layer
  std::vector<Buffer<real>> tables;  // of each layer
  std::vector<double> first_layer;   // (blocks, basis, 3, lanes) of layer 1 by moments
};

}  // namespace tlmd::engine
#endif
