// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_WATCH_H
#define TLMD_WATCH_H

#include "backends/card.h"
#include "keywords.h"
#include "rows.h"

#include "pointers.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

/// Predicted standard deviations at a step.
struct Deviations {
  std::vector<double> atoms;  // of the own rows (n_owned,), eV or eV/A
  double second;              // what compute pair gives beside the largest of them, the same on all ranks
};

/// Who wants the deviations of the atoms, and what is done where they are large: `halt SIGMA` ends the run, `dump SIGMA
/// FILE` appends the frame to an extxyz file, both looked at `every N` steps; fix pair and compute pair read them.
class Watch : protected Pointers {
 public:
  enum Quantity { FORCES, ENERGIES };  // on atoms, of atoms
  /// Settings may change later.
  Watch(LAMMPS *lmp, Quantity quantity, const tlmd::Settings &settings);

  /// Of a run. `unit`: LAMMPS energy unit per eV; `members`: models that are compared. Throws std::runtime_error (got;
  /// wanted; do) if the card has no threshold for `auto`.
  void start(const tlmd::Card &card, const std::string &style, double unit, int members);
  bool on() const { return settings.halt != 0 || settings.dump != 0; }
  bool asked() const { return by_fix; }
  bool wanted(int eflag) const;  // whether this step's deviations are needed
  /// Collective: of a step that wants them; elements by atom type.
  void look(const Deviations &found, const Rows &rows, const std::vector<std::string> &elements);

  int *trigger() { return &by_fix; }  // of fix pair
  double *of_atoms();                 // (nlocal,), zero for types of another style
  double *summary() { return both; }  // for compute pair, which adds up those of the ranks

 private:
  bool due() const;
  double threshold(const char *keyword, double value, double in_card) const;
  void write(double largest, const std::vector<std::string> &elements) const;

  const Quantity quantity;
  const tlmd::Settings &settings;
  std::string style, unit_name;
  double unit = 1.0, halt = 0, dump = 0;  // LAMMPS units; 0: off
  int by_fix = 0;
  std::vector<double> deviations;
  double both[2];
};

}  // namespace LAMMPS_NS
#endif
