// SPDX-License-Identifier: GPL-2.0-only
// The only unit conversions of the plugin; lengths are A in both unit styles.
#ifndef TLMD_UNITS_H
#define TLMD_UNITS_H

#include <string>

namespace tlmd {

constexpr double EV_PER_KCAL_MOL = 0.0433641153087705;  // 1 kcal/mol in eV, as tlmd.units

/// LAMMPS energy unit per eV in a unit style; 0: one that the plugin does not know.
inline double energy_unit(const std::string &unit_style) {
  if (unit_style == "metal") return 1.0;
  if (unit_style == "real") return 1.0 / EV_PER_KCAL_MOL;
  return 0.0;
}

inline const char *energy_unit_name(const std::string &unit_style) { return unit_style == "real" ? "kcal/mol" : "eV"; }

}  // namespace tlmd
#endif
