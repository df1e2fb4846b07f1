// SPDX-License-Identifier: MIT
#include "slots.h"

#include <algorithm>

namespace tlmd {

Slots::Slots(const engine::Pairs &pairs, double cutoff)
    : n_centres((int) pairs.directed.size()), here(pairs.neighbour.size()), there(pairs.neighbour.size(), -1) {
  std::vector<int> count(n_centres, 0);
  auto each = [&](auto visit) {  // visit(pair, atom, neighbour, shared)
    for (int i = 0; i < n_centres; i++)
      for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) visit(p, i, pairs.neighbour[p], p < pairs.directed[i]);
  };
  each([&](int, int i, int j, bool shared) {
    count[i]++;
    if (shared) count[j]++;
  });
  for (int c : count) n = std::max(n, c);
  neighbours.resize((size_t) n_centres * n);
  vectors.assign(3 * neighbours.size(), 0.0);
  for (size_t s = 0; s < neighbours.size(); s++) {
    neighbours[s] = (int) (s / n);
    vectors[3 * s + 2] = 2.0 * cutoff;
  }
  std::fill(count.begin(), count.end(), 0);
  auto fill = [&](int i, int j, const double *r, double sign) {
    const int s = i * n + count[i]++;
    neighbours[s] = j;
    for (int d = 0; d < 3; d++) vectors[3 * (size_t) s + d] = sign * r[d];
    return s;
  };
  each([&](int p, int i, int j, bool shared) {
    here[p] = fill(i, j, &pairs.vectors[3 * (size_t) p], 1);
    if (shared) there[p] = fill(j, i, &pairs.vectors[3 * (size_t) p], -1);
  });
}

std::vector<double> Slots::of_pairs(const std::vector<double> &slopes) const {
  std::vector<double> found(3 * here.size());
  for (size_t p = 0; p < here.size(); p++)
    for (int d = 0; d < 3; d++)
      found[3 * p + d] = slopes[3 * (size_t) here[p] + d] - (there[p] < 0 ? 0.0 : slopes[3 * (size_t) there[p] + d]);
  return found;
}

}  // namespace tlmd
