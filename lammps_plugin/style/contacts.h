// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_CONTACTS_H
#define TLMD_CONTACTS_H

#include "backends/card.h"
#include "keywords.h"
#include "rows.h"

#include "pointers.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

/// Pairs of atoms that are nearer than any in the training of a model: `closest warn` tells of the first one of each
/// two elements in a run, `closest halt` also ends the run.
class Contacts : protected Pointers {
 public:
  /// Settings may change later.
  Contacts(LAMMPS *lmp, const tlmd::Settings &settings) : Pointers(lmp), settings(settings) {}

  void start(const tlmd::Card &, const std::string &style);  // of a run
  void look(const Rows &);                                   // collective

 private:
  struct Nearest {
    double ratio;  // of its squared distance and that in training
    int rank;
  };
  std::vector<Nearest> find(const Rows &);
  void tell(int kind, const Nearest &);

  const tlmd::Settings &settings;
  std::string style;
  std::vector<std::string> elements;
  // Of each pair of species (S * S); the kind of two species in either order is one of the two.
  std::vector<int> kinds;
  std::vector<double> known2;      // A^2, squared distances in training; 0: not known, or told of in this run
  std::vector<int> first, second;  // atoms of this rank's nearest pair
};

}  // namespace LAMMPS_NS
#endif
