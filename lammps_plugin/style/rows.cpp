// SPDX-License-Identifier: GPL-2.0-only
#include "rows.h"

#include "backends/refusal.h"

#include "atom.h"
#include "comm.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

using namespace LAMMPS_NS;
using tlmd::Owner;

static constexpr double CELL = 3.0;                   // A, of the curve that orders the rows
static constexpr double NEAR2 = 1e-12, FAR2 = 1e300;  // A^2, squared distances beyond which positions are no use

// Whether a pair's squared distance is none: atoms at one place, or positions that are not finite.
static bool no_distance(double r2) { return !(r2 >= NEAR2 && r2 <= FAR2); }

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
void Rows::number_rows() {
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

// Whether a pair can come within the cutoff before the next list: beside a style of a longer cutoff the list reaches
// further. So can one without a distance, which is refused later.
bool Rows::near(int i, int j) const {
  const double *a = atom->x[i], *b = atom->x[j], reach = cutoff + neighbor->skin;
  const double r2 = (b[0] - a[0]) * (b[0] - a[0]) + (b[1] - a[1]) * (b[1] - a[1]) + (b[2] - a[2]) * (b[2] - a[2]);
  return !(r2 > reach * reach);
}

// Of each local and ghost atom, whether an own atom's list names it; all where ghosts have lists, too.
std::vector<char> Rows::named_ghosts() const {
  std::vector<char> named(row.size(), hops > 0);
  if (hops) return named;
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], *neighbours = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; jj++)
      if (near(i, neighbours[jj] & NEIGHMASK)) named[neighbours[jj] & NEIGHMASK] = 1;
  }
  return named;
}

void Rows::plan(Pair *pair, NeighList *full, const int *species, double reach, int pairs_away) {
  list = full;
  map = species;
  cutoff = reach;
  hops = pairs_away;
  number_rows();
  comm->forward_comm(pair);  // owner of every ghost

  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost, n = (int) atom_of.size();
  const auto named = named_ghosts();
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
  pairs.n_owned = n;
  n_atoms = (int) atom_of.size();
  if (hops) return;
  halo.plan(ghosts);
  name_species();
  list_candidates();
}

void Rows::name_species() {
  pairs.n_rows = (int) atom_of.size();
  pairs.species.clear();
  for (int i : atom_of) pairs.species.push_back(map[atom->type[i]]);
}

void Rows::list_candidates() {
  const int n = pairs.n_owned;
  candidates.clear();
  first.assign(1, 0);
  first_directed.clear();
  for (int c = 0; c < n; c++) {
    const int i = atom_of[c], *neighbours = list->firstneigh[i];
    for (const bool shared : {true, false}) {
      for (int jj = 0; jj < list->numneigh[i]; jj++) {
        const int j = neighbours[jj] & NEIGHMASK, r = row[j];
        if (!near(i, j)) continue;
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

void Rows::gather() { hops ? gather_whole() : gather_layer(); }

void Rows::gather_layer() {
  double **x = atom->x;
  const double cutoff2 = cutoff * cutoff;
  pairs.neighbour.resize(candidates.size() + 1);
  pairs.vectors.resize(3 * candidates.size() + 3);
  int n_pairs = 0;
  int *neighbour = pairs.neighbour.data();
  double *vectors = pairs.vectors.data();
  bool bad = false;
  auto take = [&](const double *centre, int begin, int end) {  // written always, kept if within the cutoff
    for (int k = begin; k < end; k++) {
      const double *there = x[candidates[k].atom];
      double *r = vectors + 3 * (size_t) n_pairs;
      for (int d = 0; d < 3; d++) r[d] = there[d] - centre[d];
      neighbour[n_pairs] = candidates[k].row;
      const double r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
      bad |= no_distance(r2);
      n_pairs += r2 < cutoff2;
    }
  };
  for (int c = 0; c < pairs.n_owned; c++) {
    const double *centre = x[atom_of[c]];
    pairs.first[c] = n_pairs;
    take(centre, first[c], first_directed[c]);
    pairs.directed[c] = n_pairs;
    take(centre, first_directed[c], first[c + 1]);
  }
  if (bad) refuse_positions();
  pairs.first[pairs.n_owned] = n_pairs;
  pairs.neighbour.resize(n_pairs);
  pairs.vectors.resize(3 * (size_t) n_pairs);
}

void Rows::refuse_pair(int i, int j) const {
  const double *a = atom->x[i], *b = atom->x[j];
  const double r =
      std::sqrt((b[0] - a[0]) * (b[0] - a[0]) + (b[1] - a[1]) * (b[1] - a[1]) + (b[2] - a[2]) * (b[2] - a[2]));
  tlmd::refuse(fmt::format("atoms {} and {} at {}", atom->tag[i], atom->tag[j],
                           r < 1 ? "the same place" : fmt::format("a distance of {} A", r)),
               "atoms apart and finite positions", "correct the input, or shorten the timestep");
}

void Rows::refuse_positions() const {
  for (int c = 0; c < pairs.n_owned; c++)
    for (int k = first[c]; k < first[c + 1]; k++) {
      const double *a = atom->x[atom_of[c]], *b = atom->x[candidates[k].atom];
      double r2 = 0;
      for (int d = 0; d < 3; d++) r2 += (b[d] - a[d]) * (b[d] - a[d]);
      if (no_distance(r2)) refuse_pair(atom_of[c], candidates[k].atom);
    }
}

// Breadth first from the own atoms: the image through which another rank's atom is first reached has all its neighbours
// among our ghosts, if that atom is nearer than `hops` pairs.
void Rows::gather_whole() {
  double **x = atom->x;
  const int n = pairs.n_owned;
  std::vector<int> place(n_atoms, -1);  // among the rows, of each atom
  std::iota(place.begin(), place.begin() + n, 0);
  atom_of.resize(n);
  pairs.first.assign(1, 0);
  pairs.neighbour.clear();
  pairs.vectors.clear();
  for (int c = 0, away = 0, next = n; c < (int) atom_of.size(); c++) {
    if (c == next) {
      away++;
      next = (int) atom_of.size();
    }
    const int i = atom_of[c], n_neighbours = away < hops ? list->numneigh[i] : 0;
    for (int jj = 0; jj < n_neighbours; jj++) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      const double r[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
      const double r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
      if (row[j] < 0) continue;
      if (no_distance(r2)) refuse_pair(i, j);
      if (r2 >= cutoff * cutoff) continue;
      int &found = place[row[j]];
      if (found < 0) {
        found = (int) atom_of.size();
        atom_of.push_back(j);
      }
      pairs.neighbour.push_back(found);
      pairs.vectors.insert(pairs.vectors.end(), r, r + 3);
    }
    pairs.first.push_back((int) pairs.neighbour.size());
  }
  pairs.directed.assign(pairs.first.begin(), pairs.first.end() - 1);
  name_species();
}

double Rows::bytes() const {
  return (double) candidates.capacity() * sizeof(Candidate) + (double) pairs.neighbour.capacity() * sizeof(int) +
         (double) pairs.vectors.capacity() * sizeof(double);
}
