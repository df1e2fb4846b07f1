// SPDX-License-Identifier: GPL-2.0-only
#include "pair_d3.h"

#include "backends/file.h"
#include "backends/refusal.h"
#include "checks.h"
#include "units.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

using namespace LAMMPS_NS;

PairD3::PairD3(LAMMPS *lmp) : PairElements(lmp) {
  comm_forward = 2 * (tlmd::engine::D3_REFERENCES - 1);  // at most; hybrid asks before coeff
  comm_reverse = 1;
}

tlmd::Settings PairD3::usual() const {
  tlmd::Settings settings;
  settings.every = 1;
  return settings;
}

void PairD3::coeff(int narg, char **arg) {
  const char *command = "pair_coeff for";
  if (!allocated) allocate();
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0 || narg - 3 != atom->ntypes)
    refuse(fmt::format("got {} arguments; wanted `* * FILE` and an element for each of {} atom types (NULL for those "
                       "without dispersion); correct the input line",
                       narg, atom->ntypes),
           command);
  const std::string bytes = tlmd::read_everywhere(arg[2], world);
  if (bytes.empty())
    refuse(fmt::format("got {}, missing or empty; wanted a file of D3 by tl-export; check the path", arg[2]), command);
  try {
    file = tlmd::read_d3(bytes, arg[2]);
    d3 = std::make_unique<tlmd::engine::D3>(file.parameters, "auto");
  } catch (const std::exception &e) {
    const std::string text = e.what();
    refuse(text.substr(0, text.find('\n')), command);
  }
  if (comm->me == 0) utils::logmesg(lmp, "pair_style d3: {}\n", file.summary);
  names.assign(arg + 2, arg + narg);
  name_types(file.elements, true, "one that the file has", "export a model that knows it");
}

void PairD3::init_style() {
  check_input(file.elements);
  if (options.tail && (!domain->xperiodic || !domain->yperiodic || !domain->zperiodic))
    refuse("got tail yes in a box that is not periodic; wanted all directions periodic; leave out tail");
  neighbor->add_request(this);
  checked = false;
}

double PairD3::init_one(int, int) { return std::max(file.parameters.cutoff, file.parameters.cn_cutoff); }

// The half list by species of the partners, near ones first.
void PairD3::make_list() {
  const int n_all = atom->nlocal + atom->nghost, S = file.parameters.n_species;
  species.resize(n_all);
  for (int i = 0; i < n_all; i++) species[i] = map[atom->type[i]];
  const double near = std::pow(file.parameters.cn_cutoff + neighbor->skin, 2);
  pairs.centres.clear();
  pairs.starts.assign(1, 0);
  size_t all = 0;
  for (int ii = 0; ii < list->inum; ii++) all += list->numneigh[list->ilist[ii]];
  pairs.partners.resize(all);
  std::vector<int> bin;
  std::vector<size_t> next(2 * S);
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], n = list->numneigh[i];
    if (species[i] < 0) continue;
    std::fill(next.begin(), next.end(), 0);
    bin.assign(n, -1);
    const double *x = atom->x[i];
    for (int jj = 0; jj < n; jj++) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      if (species[j] < 0) continue;
      const double *y = atom->x[j], dx = x[0] - y[0], dy = x[1] - y[1], dz = x[2] - y[2];
      bin[jj] = 2 * species[j] + (dx * dx + dy * dy + dz * dz >= near);
      next[bin[jj]]++;
    }
    size_t start = pairs.starts.back();
    for (auto &count : next) {
      const size_t here = start;
      pairs.starts.push_back(start += count);
      count = here;
    }
    for (int jj = 0; jj < n; jj++)
      if (bin[jj] >= 0) pairs.partners[next[bin[jj]]++] = list->firstneigh[i][jj] & NEIGHMASK;
    pairs.centres.push_back(i);
  }
}

int PairD3::pack_forward_comm(int n, int *atoms, double *buf, int, int *) {
  for (int k = 0; k < n; k++) buf = std::copy_n(moving->data() + (size_t) atoms[k] * width, width, buf);
  return n * width;
}

void PairD3::unpack_forward_comm(int n, int first, double *buf) {
  std::copy_n(buf, (size_t) n * width, moving->data() + (size_t) first * width);
}

int PairD3::pack_reverse_comm(int n, int first, double *buf) {
  std::copy_n(moving->data() + first, n, buf);
  return n;
}

void PairD3::unpack_reverse_comm(int n, int *atoms, double *buf) {
  for (int k = 0; k < n; k++) (*moving)[atoms[k]] += buf[k];
}

// Ghosts' parts to their owners.
void PairD3::collect(std::vector<double> &values) {
  moving = &values;
  comm->reverse_comm(this);
}

const double *PairD3::positions() const { return atom->nlocal + atom->nghost ? atom->x[0] : nullptr; }

// Owners' values to ghosts.
void PairD3::spread(std::vector<double> &values, int size) {
  moving = &values;
  width = size;
  if (size) comm->forward_comm(this, size);
}

// Coordination numbers, weights, and the exact energy and forces.
void PairD3::refresh(tlmd::engine::D3Result &result) {
  const int n_local = atom->nlocal, n_all = n_local + atom->nghost, size = d3->row_size();
  const double *x = positions();
  numbers.assign(n_all, 0);
  d3->count(pairs, species.data(), x, numbers.data());
  collect(numbers);
  rows.resize((size_t) n_all * size);
  for (int i = 0; i < n_local; i++)
    if (species[i] >= 0) d3->weigh(species[i], numbers[i], rows.data() + (size_t) i * size);
  spread(rows, size);
  slopes.assign(n_all, 0);
  d3->disperse(pairs, species.data(), x, rows.data(), slopes.data(), result);
  collect(slopes);
  if (options.tail) sum_weights();
  if (options.tail) add_tail(result, true);
  spread(slopes, 1);
  const double energy = result.energy;
  d3->follow(pairs, species.data(), x, slopes.data(), result);
  offset = energy - result.energy;
  last = update->ntimestep;
}

// Weights and slopes of the last refresh.
void PairD3::hold(tlmd::engine::D3Result &result) {
  const double *x = positions();
  d3->disperse(pairs, species.data(), x, rows.data(), nullptr, result);
  if (options.tail) add_tail(result, false);
  d3->follow(pairs, species.data(), x, slopes.data(), result);
  if (!result.energies) return;
  std::vector<double> now(numbers.size(), 0);
  d3->count(pairs, species.data(), x, now.data());
  collect(now);
  for (int i = 0; i < atom->nlocal; i++) result.energies[i] += slopes[i] * (now[i] - numbers[i]);
}

void PairD3::sum_weights() {
  std::vector<double> mine((size_t) file.parameters.n_species * file.parameters.n_references, 0);
  totals.resize(mine.size());
  for (int i = 0; i < atom->nlocal; i++)
    if (species[i] >= 0) d3->add_weights(species[i], rows.data() + (size_t) i * d3->row_size(), mine.data());
  MPI_Allreduce(mine.data(), totals.data(), (int) mine.size(), MPI_DOUBLE, MPI_SUM, world);
}

void PairD3::add_tail(tlmd::engine::D3Result &result, bool with_slopes) {
  std::vector<double> energy, virial;
  d3->tail(totals.data(), domain->xprd * domain->yprd * domain->zprd, energy, virial);
  for (int i = 0; i < atom->nlocal; i++) {
    if (species[i] < 0) continue;
    const double *row = rows.data() + (size_t) i * d3->row_size();
    const double e = d3->of_weights(species[i], row, energy), v = d3->of_weights(species[i], row, virial);
    result.energy += e;
    if (result.energies) result.energies[i] += e;
    for (int d = 0; d < 3; d++) {
      result.virial[d] += v;
      if (result.virials) result.virials[6 * (size_t) i + d] += v;
    }
    if (with_slopes) slopes[i] += 2 * d3->slope_of_weights(species[i], row, energy);
  }
}

void PairD3::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const bool moved = neighbor->ago == 0 || !checked;
  if (!checked) refuse(Checks(lmp, map).other_styles(*list));  // earlier the list does not say it
  checked = true;
  if (moved) make_list();
  const size_t n_all = atom->nlocal + atom->nghost;
  tlmd::engine::D3Result result;
  forces.assign(3 * n_all, 0);
  result.forces = forces.data();
  if (eflag_atom) energies.assign(n_all, 0), result.energies = energies.data();
  if (vflag_atom) virials.assign(6 * n_all, 0), result.virials = virials.data();
  if (moved || options.every == 1 || update->ntimestep - last >= options.every || update->ntimestep < last)
    refresh(result);
  else
    hold(result);
  result.energy += offset;
  store(result);
}

void PairD3::store(const tlmd::engine::D3Result &result) {
  const double unit = unit_energy;
  const int n_all = atom->nlocal + atom->nghost;
  if (!std::isfinite(result.energy))
    error->one(FLERR, "pair_style d3: got energy {} at step {}; wanted a finite number; look at the atoms' positions",
               result.energy, update->ntimestep);
  if (eflag_global) eng_vdwl += result.energy * unit;
  for (int v = 0; v < 6; v++)
    if (vflag_global) virial[v] += result.virial[v] * unit;
  for (int i = 0; i < n_all; i++)
    for (int d = 0; d < 3; d++) atom->f[i][d] += forces[3 * (size_t) i + d] * unit;
  if (eflag_atom)
    for (int i = 0; i < n_all; i++) eatom[i] += energies[i] * unit;
  if (vflag_atom)
    for (int i = 0; i < n_all; i++)
      for (int v = 0; v < 6; v++) vatom[i][v] += virials[6 * (size_t) i + v] * unit;
}

double PairD3::memory_usage() {
  const size_t numbers_held = numbers.capacity() + slopes.capacity() + rows.capacity() + forces.capacity();
  return Pair::memory_usage() + sizeof(double) * (double) numbers_held +
         sizeof(int) * (double) pairs.partners.capacity();
}
