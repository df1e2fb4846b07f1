// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_TPAINN_H
#define LMP_PAIR_TPAINN_H

#include "backends/native.h"
#include "backends/torchscript.h"
#include "contacts.h"
#include "keywords.h"
#include "rows.h"

#include "pair.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

/// pair_style tpainn [keywords, see keywords.cpp]
/// pair_coeff * * model-lammps.pt O H        (NULL for types that another style owns)
class PairTPaiNN : public Pair {
 public:
  explicit PairTPaiNN(LAMMPS *);
  ~PairTPaiNN() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double memory_usage() override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;

 protected:
  /// Name of the style, and the kind that the cards of its models state.
  virtual std::string kind() const { return "tpainn"; }
  virtual std::vector<tlmd::Keyword> keywords() const { return tlmd::TPAINN_KEYWORDS; }
  /// Another model has been read. Throws std::runtime_error if the style cannot use it.
  virtual void loaded() {}
  /// Collective: the atoms of the ranks' rows are others than before; `setup`: at the start of a run.
  virtual void regrouped(bool setup);
  /// Collective: the evaluator has evaluated this step.
  virtual void evaluated(int eflag);

  /// Collective: ends LAMMPS with a line `COMMAND KIND: text`; text: got; wanted; do. None if it is empty.
  void refuse(const std::string &text, const char *command = "pair_style");
  tlmd::Evaluator &evaluator();

  tlmd::Settings options;
  std::unique_ptr<tlmd::TorchScript> model;
  std::unique_ptr<tlmd::Native> native;  // null: the scripted model evaluates
  Rows rows;
  Contacts contacts;
  std::vector<std::string> names;  // the element of each type, from 1; NULL: another style's
  double unit_energy = 1.0;        // LAMMPS energy unit per eV

 private:
  void allocate();
  void load(const char *file);
  std::string start_native();
  void name_types();
  double range() const;
  void miss_baseline();
  void widen_ghosts();
  void gather();
  void first_checks();
  void say_memory();
  void check_native();
  void scatter();

  std::vector<double> references;  // eV, of each species
  tlmd::engine::Result result;
  bool planned = false, first_step = true;
};

}  // namespace LAMMPS_NS
#endif
