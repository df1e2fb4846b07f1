/* ----------------------------------------------------------------------
   tlmd: transfer-learned potentials for LAMMPS. GPL-2.0-only, see lammps_plugin/LICENSE.
------------------------------------------------------------------------- */
#include "rows.h"

#include "atom.h"
#include "comm.h"
#include "neigh_list.h"
#include "pair.h"

#include <algorithm>
#include <cstdint>

using namespace LAMMPS_NS;
using tlmd::Owner;

static constexpr double CELL = 3.0;  // A, of the curve that orders the rows

// Position on a Morton curve: the bits of three numbers of cells in turn.
static uint64_t morton(const double *x, const double *low) {
  uint64_t code = 0;
  for (int d = 0; d < 3; d++) {
    const auto cell = (uint64_t) std::clamp((x[d] - low[d]) / CELL, 0.0, 2097151.0);
    for (int bit = 0; bit < 21; bit++) code |= (cell >> bit & 1) << (3 * bit + d);
  }
  return code;
}

// Atoms that are near in space get rows that are near in memory.
void Rows::number_rows(const int *map) {
  const int nlocal = atom->nlocal;
  double low[3] = {0, 0, 0};
  for (int i = 0; i < nlocal; i++)
    for (int d = 0; d < 3; d++) low[d] = i ? std::min(low[d], atom->x[i][d]) : atom->x[i][d];
  std::vector<std::pair<uint64_t, int>> order;
  for (int i = 0; i < nlocal; i++)
    if (map[atom->type[i]] >= 0) order.emplace_back(morton(atom->x[i], low), i);
  std::sort(order.begin(), order.end());
  atom_of.clear();
  row.assign(nlocal + atom->nghost, -1);
  owner.assign(row.size(), {comm->me, -1});
  for (const auto &[code, i] : order) {
    row[i] = owner[i].second = (int) atom_of.size();
    atom_of.push_back(i);
  }
}

void Rows::pack(int n, const int *list, double *buf) const {
  for (int k = 0; k < n; k++) {
    *buf++ = owner[list[k]].first;
    *buf++ = owner[list[k]].second;
  }
}

void Rows::unpack(int n, int first, const double *buf) {
  for (int k = 0; k < n; k++) owner[first + k] = {(int) buf[2 * k], (int) buf[2 * k + 1]};
}

void Rows::plan(Pair *pair, NeighList *list, const int *map, double reach) {
  cutoff = reach;
  number_rows(map);
  comm->forward_comm(pair);  // owner of every ghost

  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost, n = (int) atom_of.size();
  std::vector<char> named(nall, 0);  // in our neighbour list
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], *neighbours = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; jj++) named[neighbours[jj] & NEIGHMASK] = 1;
  }
  std::vector<std::pair<Owner, int>> needed;  // atoms of other ranks, and a ghost of each
  for (int j = nlocal; j < nall; j++) {
    if (!named[j] || owner[j].second < 0) continue;
    if (owner[j].first == comm->me)
      row[j] = owner[j].second;  // an image of our own atom is that atom
    else
      needed.emplace_back(owner[j], j);
  }
  std::sort(needed.begin(), needed.end());
  std::vector<Owner> ghosts;
  for (const auto &[o, j] : needed) {
    if (ghosts.empty() || ghosts.back() != o) {
      ghosts.push_back(o);
      atom_of.push_back(j);
    }
    row[j] = n + (int) ghosts.size() - 1;
  }
  halo.plan(ghosts);

  pairs.n_owned = n;
  pairs.n_rows = (int) atom_of.size();
  pairs.species.clear();
  for (int i : atom_of) pairs.species.push_back(map[atom->type[i]]);
  list_candidates(list);
}

void Rows::list_candidates(NeighList *list) {
  const int n = pairs.n_owned;
  candidates.clear();
  first.assign(1, 0);
  first_directed.clear();
  for (int c = 0; c < n; c++) {
    const int i = atom_of[c], *neighbours = list->firstneigh[i];
    for (const bool shared : {true, false}) {
      for (int jj = 0; jj < list->numneigh[i]; jj++) {
        const int j = neighbours[jj] & NEIGHMASK, r = row[j];
        // a pair of two own atoms lies at the lower row and is shared; own images and ghosts are directed
        if (r >= 0 && (r < n && r != c ? shared && r > c : !shared)) candidates.push_back({j, r});
      }
      if (shared) first_directed.push_back((int) candidates.size());
    }
    first.push_back((int) candidates.size());
  }
  pairs.first.resize(n + 1);
  pairs.directed.resize(n);
}

void Rows::gather() {
  double **x = atom->x;
  const double cutoff2 = cutoff * cutoff;
  pairs.neighbour.resize(candidates.size() + 1);
  pairs.vectors.resize(3 * candidates.size() + 3);
  int n_pairs = 0;
  int *neighbour = pairs.neighbour.data();
  double *vectors = pairs.vectors.data();
  auto take = [&](const double *centre, int begin, int end) {  // written always, kept if within the cutoff
    for (int k = begin; k < end; k++) {
      const double *there = x[candidates[k].atom];
      double *r = vectors + 3 * (size_t) n_pairs;
      for (int d = 0; d < 3; d++) r[d] = there[d] - centre[d];
      neighbour[n_pairs] = candidates[k].row;
      n_pairs += r[0] * r[0] + r[1] * r[1] + r[2] * r[2] < cutoff2;
    }
  };
  for (int c = 0; c < pairs.n_owned; c++) {
    const double *centre = x[atom_of[c]];
    pairs.first[c] = n_pairs;
    take(centre, first[c], first_directed[c]);
    pairs.directed[c] = n_pairs;
    take(centre, first_directed[c], first[c + 1]);
  }
  pairs.first[pairs.n_owned] = n_pairs;
  pairs.neighbour.resize(n_pairs);
  pairs.vectors.resize(3 * (size_t) n_pairs);
}

double Rows::bytes() const {
  return (double) candidates.capacity() * sizeof(Candidate) + (double) pairs.neighbour.capacity() * sizeof(int) +
         (double) pairs.vectors.capacity() * sizeof(double);
}
