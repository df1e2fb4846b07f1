// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_CHECKS_H
#define TLMD_CHECKS_H

#include "pointers.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class NeighList;

/// What would give wrong numbers without a word: input lines that take a part of a many-body model's pairs away, and
/// names that do not fit the atoms. Each check returns a refusal (got / wanted / do), empty if all is well; all ranks
/// get the same. `species`: of each atom type, -1 for types of other styles.
class Checks : protected Pointers {
 public:
  Checks(LAMMPS *lmp, const int *species) : Pointers(lmp), species(species) {}

  std::string bonds() const;                          // special_bonds
  std::string exclusions() const;                     // neigh_modify exclude and include; collective
  std::string other_styles(const NeighList &) const;  // pairs of types that hybrid gives to another style
  /// Collective. `known`: the model's elements by species; `names`: the element of each type, from 1.
  std::string masses(const std::vector<std::string> &known, const std::vector<std::string> &names) const;

  /// Collective: the text of the lowest rank that has one.
  std::string of_any_rank(const std::string &text) const;

 private:
  bigint members(int group) const;
  std::string excluded() const;
  std::string misnamed(const std::vector<std::string> &known, const std::string &name, double mass) const;

  const int *species;
};

}  // namespace LAMMPS_NS
#endif
