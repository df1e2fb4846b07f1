// SPDX-License-Identifier: MIT
// An exported model in libtorch: load it, check it, hand out its weights, evaluate it: PaiNN layer by layer, other
// backbones in one piece. No LAMMPS and no torch type shows here.
#ifndef TLMD_TORCHSCRIPT_H
#define TLMD_TORCHSCRIPT_H

#include "card.h"
#include "evaluator.h"

#include <memory>

namespace tlmd {

class TorchScript : public Evaluator {
 public:
  /// `file`: the whole file in memory; kind tpainn | mekrr, which the card must state; device cpu | cuda | auto; `rank`
  /// chooses among several GPUs. Compares the checksums of all of the file's contents, and the card with the
  /// parameters. Throws std::runtime_error with one line that says got / wanted / do.
  TorchScript(const std::string &file, const std::string &name, const std::string &kind, const std::string &device,
              int rank);
  ~TorchScript() override;

  Card card;
  /// 0: a PaiNN, evaluated layer by layer. Else a backbone in one piece, whose features depend on atoms so many pairs
  /// away: each row of the pairs that it gets needs its own, but for those at that distance; no halo and no weights().
  int hops;
  bool on_gpu;
  bool by_composition;  // whether energies depend on the ratios that compose() takes
  std::string summary;  // one line for the log

  /// Evaluates the file's own test cluster and compares with the numbers that eager PyTorch gave at export; throws if
  /// forces or energies are off by more than the tolerance of the precision.
  void self_test();
  double tolerance() const { return card.float64 ? 1e-10 : 1e-4; }  // relative to the largest

  void evaluate(const engine::Pairs &, Halo &halo, engine::Result &result, int n_threads) override;
  std::vector<double> features(int layer) const override;

  /// Predicted standard deviations of a kernel model that has them: of the energies of the atoms (n_owned,) eV, for the
  /// features of an evaluator's last evaluation; `sums` gets what the ranks add up before deviation_of them is taken.
  bool deviates;
  std::vector<double> deviations(const engine::Pairs &, const Evaluator &, std::vector<double> &sums) const;
  double deviation_of(const std::vector<double> &sums) const;

  /// N / n_z of each species in the whole system, (n_species,); it counts for the weights, too.
  void compose(const std::vector<double> &ratio);
  engine::Weights weights() const;
  engine::Pairs test_cluster() const;

  /// Version of the libtorch in this process, not of the one that was compiled against.
  static std::string torch_version();

 private:
  void check_parameters(const std::string &name) const;

  struct Impl;
  std::unique_ptr<Impl> impl;
};

}  // namespace tlmd
#endif
