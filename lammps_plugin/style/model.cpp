// SPDX-License-Identifier: GPL-2.0-only
#include "model.h"

#include "backends/file.h"
#include "backends/refusal.h"
#include "rows.h"

#include "comm.h"
#include "utils.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

static constexpr int CHECKED = 1000;  // atoms of a rank that the comparison of both backends takes at most

Model::Model(LAMMPS *lmp, const std::string &file, const std::string &kind, const tlmd::Settings &settings)
    : Pointers(lmp), file(file), kind(kind) {
  const std::string bytes = tlmd::read_everywhere(file.c_str(), world);
  if (bytes.empty()) tlmd::refuse(file + ", missing or empty", "a file written by tl-export", "check the path");
  const std::string device = settings.backend == "native" ? "cpu" : settings.device;
  script = std::make_unique<tlmd::TorchScript>(bytes, file, kind, device, comm->me);
  if (settings.check) script->self_test();
  if (script->hops && settings.backend == "native")
    tlmd::refuse("backend native and a backbone that is TorchScript", "PaiNN", "leave out backend");
  if (settings.backend != "torchscript" && !script->on_gpu && !script->hops) start_native();
}

tlmd::Evaluator &Model::evaluator() const {
  if (native) return *native;
  return *script;
}

// Rank 0 chooses the table, so that all ranks have the same.
void Model::start_native() {
  const auto weights = script->weights();
  references = weights.reference;
  const bool float64 = card().float64;
  if (comm->me == 0)
    table = tlmd::engine::choose_bins(weights, script->test_cluster(), tlmd::engine::table_tolerance(float64));
  MPI_Bcast(&table.n_bins, 1, MPI_INT, 0, world);
  native = tlmd::native(weights, float64, table.n_bins);
}

std::string Model::summary() const {
  if (!native) return script->summary;
  return fmt::format("{}, native engine on {} ({} bins, table error {:.1e} of the rms force)", script->summary,
                     native->isa(), table.n_bins, table.error);
}

double Model::needed_mib(const Rows &rows) const {
  if (!native) return 0.0;
  const auto &pairs = rows.pairs;
  const double n = std::max(pairs.n_owned, 1);
  const double each = native->memory_per_atom(pairs.neighbour.size() / n, pairs.n_rows / n);
  return (each * pairs.n_owned + native->memory()) / (1 << 20);
}

std::string Model::check(Rows &rows) const {
  if (!native) return "";
  const auto &pairs = rows.pairs;
  int n = pairs.n_owned, most;
  MPI_Allreduce(&n, &most, 1, MPI_INT, MPI_MAX, world);
  tlmd::Halo none(MPI_COMM_SELF);
  none.plan({});
  const bool part = most > CHECKED;
  const auto checked = part ? tlmd::cut_out(pairs, CHECKED) : pairs;
  tlmd::Halo &halo = part ? none : rows.halo;
  tlmd::engine::Result scripted, found;
  script->evaluate(checked, halo, scripted, comm->nthreads);
  native->evaluate(checked, halo, found, comm->nthreads);
  double off = tlmd::deviation(checked, references, scripted, found), largest;
  if (std::isnan(off)) off = HUGE_VAL;
  MPI_Allreduce(&off, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  const double tolerance = script->tolerance() + 10 * tlmd::engine::table_tolerance(card().float64);
  if (largest > tolerance)
    return fmt::format(
        "got native forces or energies off by {:.1e} from the scripted model; wanted at most {:.1e}; use "
        "backend torchscript and report {}",
        largest, tolerance, file);
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: native and scripted agree to {:.1e} on the first step{}\n", kind, largest,
                   part ? fmt::format(" ({} atoms of each rank)", CHECKED) : "");
  return "";
}
