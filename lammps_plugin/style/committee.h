// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_COMMITTEE_H
#define TLMD_COMMITTEE_H

#include "model.h"
#include "rows.h"

#include "pointers.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class Pair;

/// The models beside the one that moves the atoms, and how far the forces of all K of them lie apart:
/// sigma_i = sqrt(sum_k |F_i^k - mean F_i|^2 / (K - 1)).
class Committee : protected Pointers {
 public:
  using Pointers::Pointers;

  /// Collective: takes the others in place of those before. Throws std::runtime_error with one line that says got /
  /// wanted / do where a model cannot be compared with the first.
  void take(std::vector<std::unique_ptr<Model>> models, const Model &first);
  const std::vector<std::unique_ptr<Model>> &models() const { return others; }
  bool empty() const { return others.empty(); }
  double bytes() const;

  /// Collective: sigma of the own rows (n_owned,), eV/A. `first`: what the first model gave for these rows. `pair`
  /// passes its reverse communication (three numbers an atom) to pack and unpack.
  std::vector<double> deviations(Pair *pair, Rows &rows, const tlmd::engine::Result &first);
  int pack(int n, int first, double *buf) const;
  void unpack(int n, const int *list, const double *buf);

 private:
  std::vector<std::unique_ptr<Model>> others;
  tlmd::engine::Result result;
  std::vector<double> off;  // (nlocal + nghost, 3) eV/A, force of a model less that of the first
};

}  // namespace LAMMPS_NS
#endif
