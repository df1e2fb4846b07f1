// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_TPAINN_H
#define LMP_PAIR_TPAINN_H

#include "pair.h"

#include <memory>
#include <string>

namespace LAMMPS_NS {

// pair_style tpainn|mekrr [backend native|torchscript] [device cpu|cuda|auto] [check yes|no]
//            mekrr also: [halt SIGMA] [dump SIGMA FILE] [every N]
// pair_coeff * * model-lammps.pt O H        (NULL for types that another style owns)
class PairTPaiNN : public Pair {
 public:
  PairTPaiNN(LAMMPS *, const std::string &style);  // style: tpainn or mekrr, the kind of its models
  ~PairTPaiNN() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double memory_usage() override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  // Standard deviations of atoms' energies: `fix ID all pair N mekrr deviation 1`.
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;

 private:
  void allocate();
  void refuse(const std::string &text, const char *command = "pair_style");
  void load(const char *file);
  std::string start_native();
  double range() const;
  void widen_ghosts();
  void say_memory();
  void check_native();
  void compose(bool setup);
  bool deviations_wanted(int eflag) const;
  void find_deviations();
  void scatter();

  struct Data;
  std::unique_ptr<Data> data;
};

}  // namespace LAMMPS_NS
#endif
