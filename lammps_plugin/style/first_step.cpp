// SPDX-License-Identifier: GPL-2.0-only
// What PairTPaiNN says and checks before its first evaluation.
#include "pair_tpainn.h"

#include "comm.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

using namespace LAMMPS_NS;

static constexpr int CHECKED = 1000;  // atoms of a rank that the comparison of both backends takes at most

void PairTPaiNN::first_checks() {
  if (!first_step) return;
  first_step = false;
  if (!native) return;
  say_memory();
  if (options.check) check_native();
}

// What the run will need beyond LAMMPS itself, before it is asked for.
void PairTPaiNN::say_memory() {
  const auto &pairs = rows.pairs;
  const double n = std::max(pairs.n_owned, 1);
  double mib = native->memory_per_atom(pairs.neighbour.size() / n, pairs.n_rows / n) * pairs.n_owned;
  mib = (mib + native->memory() + rows.bytes()) / (1 << 20);
  double total, largest;
  MPI_Reduce(&mib, &total, 1, MPI_DOUBLE, MPI_SUM, 0, world);
  MPI_Reduce(&mib, &largest, 1, MPI_DOUBLE, MPI_MAX, 0, world);
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: needs about {:.3g} MiB, {:.3g} MiB on the largest of {} ranks\n", kind(), total,
                   largest, comm->nprocs);
}

// The native engine against the scripted model on this configuration, or on a part of it where that is large.
void PairTPaiNN::check_native() {
  const auto &pairs = rows.pairs;
  int n = pairs.n_owned, most;
  MPI_Allreduce(&n, &most, 1, MPI_INT, MPI_MAX, world);
  tlmd::Halo none(MPI_COMM_SELF);
  none.plan({});
  const bool part = most > CHECKED;
  const auto checked = part ? tlmd::cut_out(pairs, CHECKED) : pairs;
  tlmd::Halo &halo = part ? none : rows.halo;
  tlmd::engine::Result scripted, found;
  model->evaluate(checked, halo, scripted, comm->nthreads);
  native->evaluate(checked, halo, found, comm->nthreads);
  double off = tlmd::deviation(checked, references, scripted, found), largest;
  if (std::isnan(off)) off = HUGE_VAL;
  MPI_Allreduce(&off, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  const double tolerance = model->tolerance() + 10 * tlmd::engine::table_tolerance(model->card.float64);
  if (largest > tolerance)
    throw std::runtime_error(fmt::format("got native forces or energies off by {:.1e} from the scripted model; wanted "
                                         "at most {:.1e}; use backend torchscript and report this model",
                                         largest, tolerance));
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: native and scripted agree to {:.1e} on the first step{}\n", kind(), largest,
                   part ? fmt::format(" ({} atoms of each rank)", CHECKED) : "");
}
