// SPDX-License-Identifier: MIT
#include "evaluator.h"

#include <algorithm>
#include <cmath>

namespace tlmd {

double deviation(const engine::Pairs &pairs, const std::vector<double> &references, const engine::Result &a,
                 const engine::Result &b) {
  std::vector<double> slopes(a.slopes.size());  // of b minus a
  double off_force = 0, off_energy = 0, largest_slope = 0, largest_energy = 0;
  for (int i = 0; i < pairs.n_owned; i++) {
    off_energy = std::max(off_energy, std::fabs(b.energies[i] - a.energies[i]));
    largest_energy = std::max(largest_energy, std::fabs(a.energies[i] - references[pairs.species[i]]));
    if (std::isnan(a.energies[i]) || std::isnan(b.energies[i])) return NAN;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++)
      for (int d = 0; d < 3; d++) {
        double &off = slopes[3 * (size_t) p + d];
        off = b.slopes[3 * (size_t) p + d] - a.slopes[3 * (size_t) p + d];
        if (std::isnan(off)) return NAN;
        largest_slope = std::max(largest_slope, std::fabs(a.slopes[3 * (size_t) p + d]));
      }
  }
  for (double off : engine::forces_of(pairs, slopes)) off_force = std::max(off_force, std::fabs(off));
  auto ratio = [](double off, double scale) { return off > 0 ? off / scale : 0.0; };
  return std::max(ratio(off_force, largest_slope), ratio(off_energy, largest_energy));
}

engine::Pairs cut_out(const engine::Pairs &pairs, int n_rows) {
  engine::Pairs part;
  part.n_owned = part.n_rows = std::min(n_rows, pairs.n_owned);
  part.species.assign(pairs.species.begin(), pairs.species.begin() + part.n_rows);
  part.first.push_back(0);
  for (int i = 0; i < part.n_owned; i++) {
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      if (p == pairs.directed[i]) part.directed.push_back((int) part.neighbour.size());
      if (pairs.neighbour[p] >= part.n_rows) continue;
      part.neighbour.push_back(pairs.neighbour[p]);
      part.vectors.insert(part.vectors.end(), &pairs.vectors[3 * (size_t) p], &pairs.vectors[3 * (size_t) p] + 3);
    }
    part.directed.resize(i + 1, (int) part.neighbour.size());
    part.first.push_back((int) part.neighbour.size());
  }
  return part;
}

}  // namespace tlmd
