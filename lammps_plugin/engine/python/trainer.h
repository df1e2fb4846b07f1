// Gradients and tangents for Python.
#ifndef TLMD_ENGINE_TRAINER_OF_PYTHON_H
#define TLMD_ENGINE_TRAINER_OF_PYTHON_H

#include "engine/training.h"
#include "evaluator.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace tlmd::engine {

// Changes (pairs, 3) of the pair vectors along which dE/dr gives what a loss with these slopes sees: of forces (N, 3)
// and virials (N, 3, 3), with F_i = sum dE/dr_ij - sum dE/dr_ji and each virial -r (x) dE/dr.
inline void changes_of_loss(const Pairs &pairs, const double *forces, const double *virials,
                            std::vector<double> &changes) {
  changes.resize(pairs.vectors.size());
  for (size_t i = 0; i < (size_t) pairs.n_owned; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++)
      for (int a = 0; a < 3; a++) {
        double t = forces[3 * i + a] - forces[3 * (size_t) pairs.neighbour[p] + a];
        for (int b = 0; b < 3; b++) t -= virials[9 * i + 3 * b + a] * pairs.vectors[3 * (size_t) p + b];
        changes[3 * (size_t) p + a] = t;
      }
}

// Changes (pairs, 3) of the pair vectors with displacements (N, 3) of the atoms and a strain (3, 3) of the whole.
inline void changes_of_motion(const Pairs &pairs, const double *displacements, const double *strain,
                              std::vector<double> &changes) {
  changes.resize(pairs.vectors.size());
  for (size_t i = 0; i < (size_t) pairs.n_owned; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++)
      for (int a = 0; a < 3; a++) {
        double change = displacements[3 * (size_t) pairs.neighbour[p] + a] - displacements[3 * i + a];
        for (int b = 0; b < 3; b++) change += strain[3 * a + b] * pairs.vectors[3 * (size_t) p + b];
        changes[3 * (size_t) p + a] = change;
      }
}

template <class real> class Trainer {
 public:
  Trainer(const nb::object &weights, const std::string &isa, int threads, int n_bins, int moment_species)
      : weights(weights),
        training(nb::cast<const Weights &>(weights), Options{isa, threads, n_bins, moment_species, false}) {}

  void set_weights(const nb::object &of_model) {
    training.set_weights(nb::cast<const Weights &>(of_model));
    weights = of_model;
  }

  nb::tuple evaluate(const nb::object &of_system) {
    const Pairs &system = nb::cast<const Pairs &>(of_system);
    {
      nb::gil_scoped_release release;
      training.evaluate(system, result);
    }
    pairs = of_system;
    return of_atoms(system, result);
  }

  nb::dict gradients(const Array<double, 1> &energies, const Array<double, 2> &forces, const Array<double, 3> &virials,
                     const std::vector<std::string> &wanted) {
    const Pairs &system = nb::cast<const Pairs &>(pairs);
    const size_t n = system.n_owned;
    if (energies.size() != n || forces.size() != 3 * n || virials.size() != 9 * n)
      throw std::runtime_error("got slopes that do not fit; wanted (N,), (N, 3), (N, 3, 3); correct the call");
    std::vector<std::pair<std::string, std::vector<real>>> gradients;
    {
      nb::gil_scoped_release release;
      changes_of_loss(system, forces.data(), virials.data(), changes);
      training.gradients(
          energies.data(), changes.data(),
          [&](const std::string &name) { return std::find(wanted.begin(), wanted.end(), name) != wanted.end(); },
          [&](const std::string &name, std::vector<real> values) {
            if (name == "vectors") add_virials(system, virials.data(), values);
            gradients.emplace_back(name, std::move(values));
          });
    }
    nb::dict by_name;
    for (auto &[name, values] : gradients) {
      const size_t size = values.size();
      by_name[name.c_str()] = numpy(std::move(values), {size});
    }
    return by_name;
  }

  auto features(const std::vector<int> &layers) const {
    const size_t n = nb::cast<const Pairs &>(pairs).n_owned;
    std::vector<real> rows(n * layers.size() * width());
    copy(layers, n, rows.data(), [&](int l) { return training.features(l); });
    return numpy(std::move(rows), {n, layers.size() * width()});
  }

  auto tangents(const Array<double, 3> &displacements, const Array<double, 3> &strains,
                const std::vector<int> &layers) {
    const Pairs &system = nb::cast<const Pairs &>(pairs);
    const size_t n = system.n_owned, size = n * layers.size() * width(), n_tangents = displacements.shape(0);
    if (displacements.size() != 3 * n * n_tangents || strains.size() != 9 * n_tangents)
      throw std::runtime_error("got changes that do not fit; wanted (T, N, 3) and (T, 3, 3); correct the call");
    std::vector<real> rows(n_tangents * size);
    {
      nb::gil_scoped_release release;
      const int n_layers = 1 + *std::max_element(layers.begin(), layers.end());
      for (size_t t = 0; t < n_tangents; t++) {
        changes_of_motion(system, displacements.data() + 3 * n * t, strains.data() + 9 * t, changes);
        training.tangents(changes.data(), n_layers);
        copy(layers, n, rows.data() + t * size, [&](int l) { return training.feature_tangents(l); });
      }
    }
    return numpy(std::move(rows), {n_tangents, n, layers.size() * width()});
  }

  size_t memory() const { return training.memory(); }

 private:
  // What the loss has of the vectors directly: a virial is -r (x) dE/dr.
  void add_virials(const Pairs &system, const double *virials, std::vector<real> &vectors) const {
    for (int i = 0; i < system.n_owned; i++)
      for (int p = system.first[i]; p < system.first[i + 1]; p++)
        for (int b = 0; b < 3; b++) {
          double sum = 0;
          for (int a = 0; a < 3; a++) sum += virials[9 * (size_t) i + 3 * b + a] * result.slopes[3 * (size_t) p + a];
          vectors[3 * (size_t) p + b] -= (real) sum;
        }
  }

  size_t width() const { return nb::cast<const Weights &>(weights).width; }

  template <class From> void copy(const std::vector<int> &layers, size_t n, real *to, const From &from) const {
    const size_t f = width(), stride = training.feature_stride();
    for (size_t k = 0; k < layers.size(); k++)
      for (size_t i = 0; i < n; i++) std::copy_n(from(layers[k]) + i * stride, f, to + (i * layers.size() + k) * f);
  }

  nb::object weights, pairs;  // which the engine points to
  Training<real> training;
  Result result;
  std::vector<double> changes;  // (pairs, 3)
};

}  // namespace tlmd::engine
#endif
