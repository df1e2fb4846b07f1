// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_TPAINN_H
#define LMP_PAIR_TPAINN_H

#include "committee.h"
#include "contacts.h"
#include "model.h"
#include "pair_elements.h"
#include "rows.h"
#include "watch.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

/// pair_style tpainn [keywords, see keywords.cpp]
/// pair_coeff * * model-lammps.pt [more models of a committee] O H     (NULL for types that another style owns)
///
/// The first model moves the atoms. With a committee `fix ID all pair N tpainn deviation 1` gives the deviations of the
/// forces on the atoms, `compute ID all pair tpainn` the largest of them and their mean; Watch ends the run or keeps
/// its frames where they are large.
class PairTPaiNN : public PairElements {
 public:
  explicit PairTPaiNN(LAMMPS *lmp) : PairTPaiNN(lmp, Watch::FORCES) {}
  ~PairTPaiNN() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double memory_usage() override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;

 protected:
  PairTPaiNN(LAMMPS *, Watch::Quantity);

  std::string kind() const override { return "tpainn"; }  // also what the cards of the models state
  std::vector<tlmd::Keyword> keywords() const override { return tlmd::TPAINN_KEYWORDS; }
  virtual bool takes_committees() const { return true; }
  /// Another model has been read.
  virtual void loaded() {}
  /// Collective: the atoms of the ranks' rows are others than before; `setup`: at the start of a run.
  virtual void regrouped(bool /*setup*/) {}
  /// Why atoms have no deviations (got; wanted; do); empty if they have.
  virtual std::string no_deviations() const;
  /// Collective: of the own rows at this step, which has been evaluated.
  virtual Deviations find_deviations();

  std::unique_ptr<Model> model;
  Rows rows;

 private:
  int count_files(int narg, char **arg);
  void load(const std::vector<std::string> &files);
  double range() const;
  void miss_baseline();
  void widen_ghosts();
  void gather();
  void first_checks();
  void say_memory();
  void look_at_deviations(int eflag);
  void want_flux();
  void scatter();
  void scatter_flux();

  Contacts contacts;
  Committee committee;
  Watch watch;
  tlmd::engine::Result result;
  bool planned = false, first_step = true;
};

}  // namespace LAMMPS_NS
#endif
