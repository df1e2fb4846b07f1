// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_MEKRR_H
#define LMP_PAIR_MEKRR_H

#include "pair_tpainn.h"
#include "watch.h"

namespace LAMMPS_NS {

/// pair_style mekrr [keywords, see keywords.cpp]: a kernel on the features of a PaiNN or another network, with standard
/// deviations of atoms' energies: `fix ID all pair N mekrr deviation 1`, `compute ID all pair mekrr` (the largest, and
/// that of the whole energy), and what Watch does where they are large.
class PairMEKRR : public PairTPaiNN {
 public:
  explicit PairMEKRR(LAMMPS *);
  ~PairMEKRR() override;

  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;

 protected:
  std::string kind() const override { return "mekrr"; }
  std::vector<tlmd::Keyword> keywords() const override;
  void loaded() override;
  void regrouped(bool setup) override;
  void evaluated(int eflag) override;

 private:
  void find_deviations();

  Watch watch;
  std::vector<int> counts;         // atoms of each species in the whole system
  std::vector<double> deviations;  // of each atom's energy (nlocal,), zero for types of another style
  int asked = 0;                   // by fix pair
};

}  // namespace LAMMPS_NS
#endif
