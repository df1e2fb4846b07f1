// SPDX-License-Identifier: GPL-2.0-only
#include "pair_mekrr.h"

#include "atom.h"
#include "comm.h"
#include "modify.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

using namespace LAMMPS_NS;

PairMEKRR::PairMEKRR(LAMMPS *lmp) : PairTPaiNN(lmp), watch(lmp, "pair_style mekrr", options) {
  nextra = 2;  // compute pair: the largest deviation of an atom's energy, that of the whole energy
  pvector = new double[nextra]();
}

PairMEKRR::~PairMEKRR() { delete[] pvector; }

std::vector<tlmd::Keyword> PairMEKRR::keywords() const {
  auto all = tlmd::TPAINN_KEYWORDS;
  all.insert(all.end(), tlmd::MEKRR_KEYWORDS.begin(), tlmd::MEKRR_KEYWORDS.end());
  return all;
}

void PairMEKRR::loaded() {
  if (watch.on() && !model->deviates)
    throw std::runtime_error("got a model without deviations; wanted one by fit.deviation; leave out halt and dump");
  counts.clear();
}

// A kernel of means over atoms has the composition of the whole system in its weights.
void PairMEKRR::regrouped(bool setup) {
  if (!model->by_composition) return;
  const auto &pairs = rows.pairs;
  std::vector<int> mine(model->card.elements.size()), found(mine.size());
  for (int i = 0; i < pairs.n_owned; i++) mine[pairs.species[i]]++;
  MPI_Allreduce(mine.data(), found.data(), (int) mine.size(), MPI_INT, MPI_SUM, world);
  if (found == counts) return;
  if (!setup)
    refuse("got atoms added, deleted or lost in a run; wanted a fixed composition, on which this model's energy "
           "depends; fit with aggregation sum");
  const double total = std::accumulate(found.begin(), found.end(), 0);
  std::vector<double> ratio;
  for (int n : found) ratio.push_back(total / std::max(n, 1));
  model->compose(ratio);
  if (native) native->set_head_weights(model->weights().head.weights);
  counts = found;
}

void PairMEKRR::evaluated(int eflag) {
  if (!model->deviates) return;
  if (asked || watch.due() || (eflag && !modify->get_compute_by_style("^pair").empty())) find_deviations();
}

void PairMEKRR::find_deviations() {
  std::vector<double> sums;
  const auto found = model->deviations(rows.pairs, evaluator(), sums);
  deviations.assign(atom->nlocal, 0.0);
  double largest = 0;
  for (size_t c = 0; c < found.size(); c++) {
    deviations[rows.atom_of[c]] = found[c] * unit_energy;
    largest = std::max(largest, found[c] * unit_energy);
  }
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), (int) sums.size(), MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  pvector[0] = comm->me == 0 ? largest : 0.0;  // compute pair adds up those of the ranks
  pvector[1] = comm->me == 0 ? model->deviation_of(sums) * unit_energy : 0.0;
  if (watch.due()) watch.look(deviations, largest, names);
}

void *PairMEKRR::extract(const char *name, int &dim) {
  dim = 0;
  return strcmp(name, "deviation_flag") == 0 ? &asked : nullptr;
}

void *PairMEKRR::extract_peratom(const char *name, int &n_columns) {
  n_columns = 0;
  if (strcmp(name, "deviation") != 0) return nullptr;
  deviations.resize(std::max(atom->nlocal, 1));  // never null
  return deviations.data();
}
