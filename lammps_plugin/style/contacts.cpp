// SPDX-License-Identifier: GPL-2.0-only
#include "contacts.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "timer.h"
#include "update.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

static constexpr double CLOSE = 0.9;  // of the smallest distance in training, as in python/tlmd/frames/shortest.py

void Contacts::start(const tlmd::Card &card, const std::string &name) {
  style = name;
  elements = card.elements;
  known2.clear();
  if (settings.closest == "off") return;
  for (double shortest : card.shortest) known2.push_back(shortest * shortest);
  const int n = (int) elements.size();
  kinds.resize(known2.size());
  for (int k = 0; k < (int) kinds.size(); k++) kinds[k] = n * std::min(k / n, k % n) + std::max(k / n, k % n);
}

std::vector<Contacts::Nearest> Contacts::find(const Rows &rows) {
  std::vector<Nearest> nearest(known2.size(), {CLOSE * CLOSE, comm->me});
  first.resize(known2.size());
  second.resize(known2.size());
  const auto &pairs = rows.pairs;
  for (int c = 0; c < pairs.n_owned; c++) {
    const int *kind_with = &kinds[elements.size() * pairs.species[c]];
    for (int p = pairs.first[c]; p < pairs.first[c + 1]; p++) {
      const double *r = &pairs.vectors[3 * (size_t) p];
      const double r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
      const int kind = kind_with[pairs.species[pairs.neighbour[p]]];
      if (r2 >= nearest[kind].ratio * known2[kind]) continue;
      nearest[kind].ratio = r2 / known2[kind];
      first[kind] = rows.atom_of[c];
      second[kind] = rows.atom_of[pairs.neighbour[p]];
    }
  }
  return nearest;
}

void Contacts::look(const Rows &rows) {
  if (std::all_of(known2.begin(), known2.end(), [](double r2) { return r2 == 0; })) return;
  auto nearest = find(rows);
  const auto close = [](const Nearest &pair) { return pair.ratio < CLOSE * CLOSE; };
  int found = std::any_of(nearest.begin(), nearest.end(), close);
  MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MAX, world);
  if (!found) return;
  MPI_Allreduce(MPI_IN_PLACE, nearest.data(), (int) nearest.size(), MPI_DOUBLE_INT, MPI_MINLOC, world);
  for (int kind = 0; kind < (int) nearest.size(); kind++)
    if (close(nearest[kind])) tell(kind, nearest[kind]);
  if (settings.closest == "halt") timer->force_timeout();
}

void Contacts::tell(int kind, const Nearest &nearest) {
  tagint tags[2];
  if (comm->me == nearest.rank) tags[0] = atom->tag[first[kind]], tags[1] = atom->tag[second[kind]];
  MPI_Bcast(tags, 2, MPI_LMP_TAGINT, nearest.rank, world);
  const int n = (int) elements.size();
  const double known = std::sqrt(known2[kind]), distance = std::sqrt(nearest.ratio) * known;
  if (comm->me == 0)
    error->warning(FLERR,
                   "pair_style {}: {}-{} at {:.3f} A, atoms {} and {}, at step {}; in training at least {:.3f} A{}",
                   style, elements[kind / n], elements[kind % n], distance, tags[0], tags[1], update->ntimestep, known,
                   settings.closest == "halt" ? ": the run ends" : ": forces and energies are guesses");
  known2[kind] = 0;
}
