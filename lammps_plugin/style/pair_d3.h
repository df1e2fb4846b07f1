// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_PAIR_D3_H
#define LMP_PAIR_D3_H

#include "backends/d3_file.h"
#include "pair_elements.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

/// pair_style d3 [every N] [tail yes|no] [masses yes|no]
/// pair_coeff * * model-d3.json O H          (NULL for types without dispersion)
class PairD3 : public PairElements {
 public:
  explicit PairD3(LAMMPS *);

  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double memory_usage() override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

 private:
  std::string kind() const override { return "d3"; }
  std::vector<tlmd::Keyword> keywords() const override { return tlmd::D3_KEYWORDS; }
  tlmd::Settings usual() const override;
  void make_list();
  const double *positions() const;
  void refresh(tlmd::engine::D3Result &);
  void hold(tlmd::engine::D3Result &);
  void collect(std::vector<double> &values);
  void spread(std::vector<double> &values, int size);
  void sum_weights();
  void add_tail(tlmd::engine::D3Result &, bool slopes);
  void store(const tlmd::engine::D3Result &);

  tlmd::D3File file;
  std::unique_ptr<tlmd::engine::D3> d3;
  tlmd::engine::D3List pairs;
  std::vector<int> species;               // (nall,)
  std::vector<double> numbers, slopes;    // (nall,) coordination numbers; eV, dE/d(these)
  std::vector<double> rows;               // (nall, row_size)
  std::vector<double> forces;             // (nall, 3) eV/A
  std::vector<double> energies, virials;  // (nall,), (nall, 6) eV
  std::vector<double> totals;             // (S, R) weights of all atoms
  std::vector<double> *moving = nullptr;  // what is exchanged with ghosts,
  int width = 1;                          // so many numbers of an atom
  bigint last = 0;                        // step at which coordination numbers were taken
  double offset = 0;                      // eV, this rank's -sum of slopes * numbers at that step
  bool checked = false;
};

}  // namespace LAMMPS_NS
#endif
