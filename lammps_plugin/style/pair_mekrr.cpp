// SPDX-License-Identifier: GPL-2.0-only
#include "pair_mekrr.h"

#include <algorithm>
#include <numeric>

using namespace LAMMPS_NS;

std::vector<tlmd::Keyword> PairMEKRR::keywords() const {
  auto all = tlmd::TPAINN_KEYWORDS;
  for (const auto &own : tlmd::MEKRR_KEYWORDS)
    for (auto &keyword : all)
      if (std::string(keyword.name) == own.name) keyword = own;
  return all;
}

// A kernel of means over atoms has the composition of the whole system in its weights.
void PairMEKRR::regrouped(bool setup) {
  if (!model->script->by_composition) return;
  const auto &pairs = rows.pairs;
  std::vector<int> mine(model->card().elements.size()), found(mine.size());
  for (int i = 0; i < pairs.n_owned; i++) mine[pairs.species[i]]++;
  MPI_Allreduce(mine.data(), found.data(), (int) mine.size(), MPI_INT, MPI_SUM, world);
  if (found == counts) return;
  if (!setup)
    refuse("got atoms added, deleted or lost in a run; wanted a fixed composition, on which this model's energy "
           "depends; fit with aggregation sum");
  const double total = std::accumulate(found.begin(), found.end(), 0);
  std::vector<double> ratio;
  for (int n : found) ratio.push_back(total / std::max(n, 1));
  model->script->compose(ratio);
  if (model->native) model->native->set_head_weights(model->script->weights().head.weights);
  counts = found;
}

std::string PairMEKRR::no_deviations() const {
  if (model->script->deviates) return "";
  return "got a model without deviations; wanted one by fit.deviation; leave out halt, dump and fix pair";
}

Deviations PairMEKRR::find_deviations() {
  std::vector<double> sums;
  auto of_atoms = model->script->deviations(rows.pairs, model->evaluator(), sums);
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), (int) sums.size(), MPI_DOUBLE, MPI_SUM, world);
  return {std::move(of_atoms), model->script->deviation_of(sums)};
}
