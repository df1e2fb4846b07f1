// Pairs from a matrix of neighbours, and forces from their slopes.
#include "engine/pairs.h"

#include <cstddef>

namespace tlmd::engine {

Pairs whole_system(int n, int k, const int *species, const int *neighbours, const double *vectors, double cutoff,
                   bool keep_slots) {
  Pairs pairs;
  pairs.n_owned = pairs.n_rows = n;
  pairs.species.assign(species, species + n);
  pairs.first.push_back(0);
  for (int i = 0; i < n; i++) {
    for (const bool self : {false, true}) {  // an atom's own images come last and stay directed
      for (int s = i * k; s < (i + 1) * k; s++) {
        const int j = neighbours[s];
        const double *r = vectors + 3 * (size_t) s;
        if ((self ? j != i : j <= i) || r[0] * r[0] + r[1] * r[1] + r[2] * r[2] >= cutoff * cutoff) continue;
        pairs.neighbour.push_back(j);
        pairs.vectors.insert(pairs.vectors.end(), r, r + 3);
        if (keep_slots) pairs.slots.push_back(s);
      }
      if (!self) pairs.directed.push_back((int) pairs.neighbour.size());
    }
    pairs.first.push_back((int) pairs.neighbour.size());
  }
  return pairs;
}

void pick_within(double cutoff, const Pairs &all, Pairs &inner, std::vector<int> &index) {
  inner.n_owned = all.n_owned, inner.n_rows = all.n_rows;
  index.resize(all.neighbour.size() + 1);
  inner.first.resize(all.n_owned + 1);
  inner.directed.resize(all.n_owned);
  int n = 0;
  auto pick = [&](int begin, int end) {  // written always, kept if within the cutoff
    for (int p = begin; p < end; p++) {
      const double *r = &all.vectors[3 * (size_t) p];
      index[n] = p;
      n += r[0] * r[0] + r[1] * r[1] + r[2] * r[2] < cutoff * cutoff;
    }
  };
  for (int i = 0; i < all.n_owned; i++) {
    inner.first[i] = n;
    pick(all.first[i], all.directed[i]);
    inner.directed[i] = n;
    pick(all.directed[i], all.first[i + 1]);
  }
  inner.first[all.n_owned] = n;
  index.resize(n);
  inner.neighbour.resize(n);
  inner.vectors.resize(3 * (size_t) n);
  for (int k = 0; k < n; k++) {
    inner.neighbour[k] = all.neighbour[index[k]];
    for (int d = 0; d < 3; d++) inner.vectors[3 * (size_t) k + d] = all.vectors[3 * (size_t) index[k] + d];
  }
}

Pairs directed(const Pairs &pairs) {
  const int n = pairs.n_owned;
  Pairs all;
  all.n_owned = n, all.n_rows = pairs.n_rows, all.species = pairs.species;
  all.first.assign(n + 1, 0);
  auto each = [&](auto &&take) {  // take(i, j, pair, sign of its vector)
    for (int i = 0; i < n; i++)
      for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
        take(i, pairs.neighbour[p], p, 1.0);
        if (p < pairs.directed[i]) take(pairs.neighbour[p], i, p, -1.0);
      }
  };
  each([&](int i, int, int, double) { all.first[i + 1]++; });
  for (int i = 0; i < n; i++) all.first[i + 1] += all.first[i];
  all.directed.assign(all.first.begin(), all.first.end() - 1);
  all.neighbour.resize(all.first[n]);
  all.vectors.resize(3 * (size_t) all.first[n]);
  std::vector<int> next = all.directed;
  each([&](int i, int j, int p, double sign) {
    const int to = next[i]++;
    all.neighbour[to] = j;
    for (int d = 0; d < 3; d++) all.vectors[3 * (size_t) to + d] = sign * pairs.vectors[3 * (size_t) p + d];
  });
  return all;
}

Pairs joined(const std::vector<const Pairs *> &systems) {
  Pairs all;
  all.first.push_back(0);
  auto append = [](auto &to, const auto &from, int shift) {
    for (auto value : from) to.push_back(value + shift);
  };
  for (const Pairs *pairs : systems) {
    const int n_pairs = all.first.back();
    append(all.neighbour, pairs->neighbour, all.n_owned);
    append(all.directed, pairs->directed, n_pairs);
    all.first.pop_back();
    append(all.first, pairs->first, n_pairs);
    all.species.insert(all.species.end(), pairs->species.begin(), pairs->species.end());
    all.vectors.insert(all.vectors.end(), pairs->vectors.begin(), pairs->vectors.end());
    all.n_owned += pairs->n_owned;
  }
  all.n_rows = all.n_owned;
  return all;
}

std::vector<double> forces_of(const Pairs &pairs, const std::vector<double> &slopes) {
  std::vector<double> forces(3 * (size_t) pairs.n_rows, 0.0);
  for (int i = 0; i < pairs.n_owned; i++) {
    double sum[3] = {};
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++)
      for (int k = 0; k < 3; k++) {
        sum[k] += slopes[3 * (size_t) p + k];
        forces[3 * (size_t) pairs.neighbour[p] + k] -= slopes[3 * (size_t) p + k];
      }
    for (int k = 0; k < 3; k++) forces[3 * (size_t) i + k] += sum[k];
  }
  return forces;
}

}  // namespace tlmd::engine
