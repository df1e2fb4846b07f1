#include "engine/repulsion.h"

#include "engine/painn.h"

#include <algorithm>

namespace tlmd::engine {

// visit(i, p, both, E, D, C) of each pair p at atom i: its energy, and the first and second derivative of that with
// respect to r^2; `both`: whether it stands for both directions.
template <class Visit> void Repulsion::each_near(const Pairs &pairs, const Visit &visit) const {
  if (radius.empty()) return;
  size_t n = 0;
  while (n * n < radius.size()) n++;
  std::vector<double> squares;
  for (double r : radius) squares.push_back(r * r);
  if (*std::max_element(squares.begin(), squares.end()) == 0) return;
  for (int i = 0; i < pairs.n_owned; i++) {
    const double *square_with = &squares[n * pairs.species[i]];
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const double *r = &pairs.vectors[3 * (size_t) p];
      const double r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2],
                   square = square_with[pairs.species[pairs.neighbour[p]]];
      if (r2 >= square) continue;
      const double ratio = square / r2, x = ratio - 1, slope = -ratio / r2;  // of x with respect to r^2
      visit(i, p, p < pairs.directed[i], strength * x * x * x, 3 * strength * x * x * slope,
            6 * strength * x * slope * slope - 6 * strength * x * x * slope / r2);
    }
  }
}

void Repulsion::add(const Pairs &pairs, Result &result) const {
  each_near(pairs, [&](int i, int p, bool both, double energy, double slope, double) {
    result.energies[i] += 0.5 * energy;
    if (both) result.energies[pairs.neighbour[p]] += 0.5 * energy;
    for (size_t k = 3 * (size_t) p; k < 3 * (size_t) p + 3; k++)
      result.slopes[k] += (both ? 2 : 1) * slope * pairs.vectors[k];
  });
}

template <class real>
void Repulsion::add_gradients(const Pairs &pairs, const double *seeds, const double *changes,
                              std::vector<real> &gradient) const {
  each_near(pairs, [&](int i, int p, bool both, double, double slope, double curve) {
    const double *r = &pairs.vectors[3 * (size_t) p], *change = changes + 3 * (size_t) p;
    const double seed = seeds[i] + (both ? seeds[pairs.neighbour[p]] : 0), factor = both ? 2 : 1;
    const double along = r[0] * change[0] + r[1] * change[1] + r[2] * change[2];
    for (int k = 0; k < 3; k++)
      gradient[3 * (size_t) p + k] +=
          (real) (seed * slope * r[k] + factor * (slope * change[k] + 2 * curve * along * r[k]));
  });
}

template void Repulsion::add_gradients(const Pairs &, const double *, const double *, std::vector<float> &) const;
template void Repulsion::add_gradients(const Pairs &, const double *, const double *, std::vector<double> &) const;

}  // namespace tlmd::engine
