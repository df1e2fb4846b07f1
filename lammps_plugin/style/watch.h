// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_WATCH_H
#define TLMD_WATCH_H

#include "keywords.h"

#include "pointers.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

/// What is done where predicted standard deviations are large: `halt SIGMA` ends the run, `dump SIGMA FILE` appends the
/// frame to an extxyz file; looked at `every N` steps. SIGMA: the largest of an atom's energy, LAMMPS energy units.
class Watch : protected Pointers {
 public:
  /// `command`: how the log names what speaks; settings may change later.
  Watch(LAMMPS *lmp, std::string command, const tlmd::Settings &settings)
      : Pointers(lmp), command(std::move(command)), settings(settings) {}

  bool on() const { return settings.halt > 0 || settings.dump > 0; }
  bool due() const;  // whether this step is looked at
  /// Collective: deviations of the atoms (nlocal,) and the largest of all ranks; elements by atom type.
  void look(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements);

 private:
  void write(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements);

  const std::string command;
  const tlmd::Settings &settings;
};

}  // namespace LAMMPS_NS
#endif
