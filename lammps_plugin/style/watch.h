// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_WATCH_H
#define TLMD_WATCH_H

#include "pointers.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

// What is done where predicted standard deviations are large: `halt SIGMA` ends the run, `dump SIGMA FILE` appends the
// frame to an extxyz file; looked at `every N` steps. SIGMA: the largest of an atom's energy, LAMMPS energy units.
class Watch : protected Pointers {
 public:
  explicit Watch(LAMMPS *lmp) : Pointers(lmp) {}

  // Takes the keyword arg[i] with its values; the number of arguments taken, 0 if it is not one of these.
  int keyword(int i, int narg, char **arg);
  bool on() const { return halt > 0 || dump > 0; }
  bool due() const;  // whether this step is looked at
  // Collective: deviations of the atoms (nlocal,) and the largest of all ranks; elements by atom type.
  void look(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements);

 private:
  void write(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements);

  double halt = 0, dump = 0;  // 0: off
  int every = 10;
  std::string file;
};

}  // namespace LAMMPS_NS
#endif
