// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include "backends/refusal.h"
#include "units.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "modify.h"
#include "timer.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <fstream>

using namespace LAMMPS_NS;

Watch::Watch(LAMMPS *lmp, Quantity quantity, const tlmd::Settings &settings)
    : Pointers(lmp), quantity(quantity), settings(settings), both{NAN, NAN} {}

double Watch::threshold(const char *keyword, double value, double in_card) const {
  if (value != tlmd::AUTO) return value;
  if (in_card > 0) return in_card * unit;
  tlmd::refuse(fmt::format("{} auto and a first model without thresholds in its card", keyword),
               fmt::format("`deviation` with {}_eV_A there", keyword), "give a number in " + unit_name);
}

void Watch::start(const tlmd::Card &card, const std::string &name, double energy_unit, int members) {
  style = name;
  unit = energy_unit;
  unit_name = std::string(tlmd::energy_unit_name(update->unit_style)) + (quantity == FORCES ? "/A" : "");
  halt = threshold("halt", settings.halt, card.halt_eV_A);
  dump = threshold("dump", settings.dump, card.dump_eV_A);
  both[0] = both[1] = NAN;
  const bool by_card = settings.halt == tlmd::AUTO || settings.dump == tlmd::AUTO;
  if (by_card && members != card.members && comm->me == 0)
    error->warning(FLERR, "pair_style {}: thresholds by auto are those of a committee of {}; this one has {} members",
                   style, card.members, members);
}

bool Watch::due() const { return on() && update->ntimestep % settings.every == 0; }

bool Watch::wanted(int eflag) const {
  return by_fix || due() || (eflag && !modify->get_compute_by_style("^pair$").empty());
}

double *Watch::of_atoms() {
  deviations.resize(std::max(atom->nlocal, 1));  // never null
  return deviations.data();
}

void Watch::look(const Deviations &found, const Rows &rows, const std::vector<std::string> &elements) {
  struct {
    double value;
    int rank;
  } largest{0.0, comm->me};
  tagint tag = 0;
  deviations.assign(atom->nlocal, 0.0);
  for (size_t c = 0; c < found.atoms.size(); c++) {
    const int i = rows.atom_of[c];
    double &value = deviations[i] = found.atoms[c] * unit;
    if (!std::isfinite(value)) value = HUGE_VAL;
    if (value <= largest.value) continue;
    largest.value = value;
    tag = atom->tag[i];
  }
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE_INT, MPI_MAXLOC, world);
  both[0] = comm->me == 0 ? largest.value : 0.0;
  both[1] = comm->me == 0 ? found.second * unit : 0.0;
  if (!due()) return;
  if (dump > 0 && largest.value > dump) write(largest.value, elements);
  if (halt <= 0 || largest.value <= halt) return;
  MPI_Bcast(&tag, 1, MPI_LMP_TAGINT, largest.rank, world);
  if (comm->me == 0)
    utils::logmesg(lmp,
                   "pair_style {}: standard deviation {:.3g} {} {} atom {} at step {}, above {:.3g}: the run ends\n",
                   style, largest.value, unit_name, quantity == FORCES ? "of the force on" : "of the energy of", tag,
                   update->ntimestep, halt);
  timer->force_timeout();
}

// Rank 0 appends the atoms of all ranks. Forces and energies are left out: they are no labels.
void Watch::write(double largest, const std::vector<std::string> &elements) const {
  std::string mine;
  for (int i = 0; i < atom->nlocal; i++)
    mine += fmt::format("{} {:.8f} {:.8f} {:.8f} {:.6g}\n", elements[atom->type[i]], atom->x[i][0], atom->x[i][1],
                        atom->x[i][2], deviations[i]);
  int size = (int) mine.size();
  std::vector<int> sizes(comm->nprocs), places(comm->nprocs);
  MPI_Gather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, 0, world);
  for (int r = 1; r < comm->nprocs; r++) places[r] = places[r - 1] + sizes[r - 1];
  std::string all(places.back() + sizes.back(), ' ');
  MPI_Gatherv(mine.data(), size, MPI_CHAR, all.data(), sizes.data(), places.data(), MPI_CHAR, 0, world);
  if (comm->me != 0) return;
  const double *h = domain->h;
  const std::string head = fmt::format(
      "{}\nLattice=\"{} 0 0 {} {} 0 {} {} {}\" Properties=species:S:1:pos:R:3:deviation:R:1 pbc=\"{} {} {}\" step={} "
      "largest_deviation={:.6g} deviation_of={} deviation_unit={}\n",
      atom->natoms, h[0], h[5], h[1], h[4], h[3], h[2], domain->periodicity[0] ? "T" : "F",
      domain->periodicity[1] ? "T" : "F", domain->periodicity[2] ? "T" : "F", update->ntimestep, largest,
      quantity == FORCES ? "force" : "energy", unit_name);
  std::ofstream stream(settings.dump_file, std::ios::app);
  stream << head + all << std::flush;
  if (!stream)
    error->one(FLERR, "pair_style {} dump: got {}, which cannot be written; wanted a file; check the path and disk",
               style, settings.dump_file);
}
