// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_ELEMENTS_H
#define LMP_PAIR_ELEMENTS_H

#include "keywords.h"

#include "pair.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

/// What the styles have in common: `pair_style KIND [keywords]`, and a pair_coeff that names the element of each type.
class PairElements : public Pair {
 public:
  explicit PairElements(LAMMPS *);
  ~PairElements() override;
  void settings(int, char **) override;

 protected:
  /// Name of the style, in what it says.
  virtual std::string kind() const = 0;
  virtual std::vector<tlmd::Keyword> keywords() const = 0;
  /// What holds without keywords.
  virtual tlmd::Settings usual() const { return {}; }

  /// Collective: ends LAMMPS with a line `COMMAND KIND: text`; text: got; wanted; do. None if it is empty.
  void refuse(const std::string &text, const char *command = "pair_style");
  void allocate();
  /// Species of each type by its name among the `known` elements, and which pairs of types are this style's.
  /// `alone`: NULL needs no other style. `wanted`, `action`: what the refusal of another element says.
  void name_types(const std::vector<std::string> &known, bool alone, const char *wanted, const char *action);
  /// Collective: refuses units, newton off and what would take pairs away; sets unit_energy.
  void check_input(const std::vector<std::string> &known);

  tlmd::Settings options;
  std::vector<std::string> names;  // the element of each type, from 1; NULL: not of this style
  double unit_energy = 1.0;        // LAMMPS energy unit per eV
};

}  // namespace LAMMPS_NS
#endif
