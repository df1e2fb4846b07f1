// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "timer.h"
#include "update.h"
#include "utils.h"

#include <cstring>
#include <fstream>

using namespace LAMMPS_NS;

int Watch::keyword(int i, int narg, char **arg) {
  const int taken = strcmp(arg[i], "dump") == 0 ? 3 : 2;
  double *threshold = strcmp(arg[i], "halt") == 0 ? &halt : strcmp(arg[i], "dump") == 0 ? &dump : nullptr;
  if (!threshold && strcmp(arg[i], "every") != 0) return 0;
  if (i + taken > narg)
    error->all(FLERR, "pair_style mekrr {}: got {} values; wanted {}; correct the input line", arg[i], narg - i - 1,
               taken - 1);
  if (threshold)
    *threshold = utils::numeric(FLERR, arg[i + 1], false, lmp);
  else
    every = utils::inumeric(FLERR, arg[i + 1], false, lmp);
  if (every <= 0 || (threshold && *threshold <= 0))
    error->all(FLERR, "pair_style mekrr {}: got {}; wanted a number above zero; correct the input line", arg[i],
               arg[i + 1]);
  if (taken == 3) file = arg[i + 2];
  return taken;
}

bool Watch::due() const { return on() && update->ntimestep % every == 0; }

void Watch::look(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements) {
  if (dump > 0 && largest > dump) write(deviations, largest, elements);
  if (halt <= 0 || largest <= halt) return;
  if (comm->me == 0)
    utils::logmesg(lmp,
                   "pair_style mekrr: standard deviation {:.3g} of an atom's energy at step {}, above {:.3g}: the "
                   "run ends\n",
                   largest, update->ntimestep, halt);
  timer->force_timeout();
}

// Rank 0 appends the atoms of all ranks.
void Watch::write(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements) {
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
      "largest_deviation={:.6g}\n",
      atom->natoms, h[0], h[5], h[1], h[4], h[3], h[2], domain->periodicity[0] ? "T" : "F",
      domain->periodicity[1] ? "T" : "F", domain->periodicity[2] ? "T" : "F", update->ntimestep, largest);
  std::ofstream stream(file, std::ios::app);
  stream << head + all << std::flush;
  if (!stream)
    error->one(FLERR, "pair_style mekrr dump: got {}, which cannot be written; wanted a file; check the path and disk",
               file);
}
