// Energies, forces and virials for Python.
#ifndef TLMD_ENGINE_EVALUATOR_OF_PYTHON_H
#define TLMD_ENGINE_EVALUATOR_OF_PYTHON_H

#include "arrays.h"
#include "engine/painn.h"

#include <algorithm>

namespace tlmd::engine {

// atom energies (N,) eV, forces (N, 3) eV/A, virials (N, 3, 3) eV: each atom's share of -r (x) dE/dr
inline nb::tuple of_atoms(const Pairs &pairs, const Result &result) {
  const size_t n = pairs.n_owned;
  std::vector<double> forces, virials(9 * n);
  {
    nb::gil_scoped_release release;
    forces = forces_of(pairs, result.slopes);
    for (size_t i = 0; i < n; i++) {
      double sum[9] = {};
      for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
        const double *r = &pairs.vectors[3 * (size_t) p], *slope = &result.slopes[3 * (size_t) p];
        for (int a = 0; a < 3; a++)
          for (int b = 0; b < 3; b++) sum[3 * b + a] -= r[b] * slope[a];
      }
      std::copy_n(sum, 9, &virials[9 * i]);
    }
  }
  return nb::make_tuple(numpy(result.energies, {n}), numpy(std::move(forces), {n, 3}),
                        numpy(std::move(virials), {n, 3, 3}));
}

template <class real> class Evaluator {
 public:
  Evaluator(const Weights &weights, const std::string &isa, int threads, int n_bins, int moment_species, bool keep)
      : width(weights.width), painn(weights, Options{isa, threads, n_bins, moment_species, keep}) {}

  nb::tuple evaluate(const Pairs &pairs) {
    n = pairs.n_owned;
    {
      nb::gil_scoped_release release;
      painn.evaluate(pairs, result);
    }
    return of_atoms(pairs, result);
  }

  auto features(int layer) const {
    const size_t f = width;
    std::vector<double> q(n * f);
    const real *from = painn.features(layer);
    for (size_t i = 0; i < n; i++) std::copy_n(from + i * painn.feature_stride(), f, &q[i * f]);
    return numpy(std::move(q), {n, f});
  }

  void set_head_weights(const Array<double, 1> &weights) { painn.set_head_weights(numbers(weights)); }
  size_t memory() const { return painn.memory(); }
  std::string isa() const { return painn.isa(); }

 private:
  size_t width, n = 0;
  PaiNN<real> painn;
  Result result;
};

}  // namespace tlmd::engine
#endif
