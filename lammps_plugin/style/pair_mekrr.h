// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_MEKRR_H
#define LMP_PAIR_MEKRR_H

#include "pair_tpainn.h"

namespace LAMMPS_NS {

/// pair_style mekrr [keywords, see keywords.cpp]: a kernel on the features of a PaiNN or another network, with standard
/// deviations of atoms' energies: `fix ID all pair N mekrr deviation 1`, `compute ID all pair mekrr` (the largest, and
/// that of the whole energy), and what Watch does where they are large.
class PairMEKRR : public PairTPaiNN {
 public:
  explicit PairMEKRR(LAMMPS *lmp) : PairTPaiNN(lmp, Watch::ENERGIES) {}

 protected:
  std::string kind() const override { return "mekrr"; }
  std::vector<tlmd::Keyword> keywords() const override;
  bool takes_committees() const override { return false; }
  void loaded() override { counts.clear(); }
  void regrouped(bool setup) override;
  std::string no_deviations() const override;
  Deviations find_deviations() override;

 private:
  std::vector<int> counts;  // atoms of each species in the whole system
};

}  // namespace LAMMPS_NS
#endif
