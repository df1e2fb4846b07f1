// SPDX-License-Identifier: GPL-2.0-only
#ifndef TLMD_MODEL_H
#define TLMD_MODEL_H

#include "backends/native.h"
#include "backends/torchscript.h"
#include "keywords.h"

#include "pointers.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class Rows;

/// A model read from a file, and what evaluates it: the native engine, or the scripted model in libtorch.
class Model : protected Pointers {
 public:
  /// Collective. `kind`: of the pair style, tpainn | mekrr, which the file's card must state. Throws
  /// std::runtime_error with one line that says got / wanted / do.
  Model(LAMMPS *lmp, const std::string &file, const std::string &kind, const tlmd::Settings &settings);

  const tlmd::Card &card() const { return script->card; }
  tlmd::Evaluator &evaluator() const;
  std::string summary() const;  // one line for the log
  /// MiB that a rank with these rows will need, bytes that are held; of the native engine.
  double needed_mib(const Rows &) const;
  double bytes() const { return native ? native->memory() : 0.0; }
  /// Collective: the native engine against the scripted model on this configuration, or on a part of it where that is
  /// large. Says in the log how well they agree, or returns a refusal (got / wanted / do), the same on all ranks.
  std::string check(Rows &) const;

  const std::string file;
  std::unique_ptr<tlmd::TorchScript> script;
  std::unique_ptr<tlmd::Native> native;  // null: the scripted model evaluates

 private:
  void start_native();

  const std::string kind;
  std::vector<double> references;  // eV, of each species
  tlmd::engine::TableChoice table{0, 0.0};
};

}  // namespace LAMMPS_NS
#endif
