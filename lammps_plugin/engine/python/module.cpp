// The engine as the Python module tlmd._engine; python/tlmd/engine.py is its face.
#include "engine/training.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>

namespace nb = nanobind;
using namespace nb::literals;

namespace tlmd::engine {

template <class T, class... Shape> using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu, Shape...>;
using Species = Array<int, nb::ndim<1>>;
using Neighbours = Array<int, nb::ndim<2>>;
using Vectors = Array<double, nb::ndim<3>>;

// A numpy array that owns what it shows.
template <class real> static auto numpy(std::vector<real> values, std::initializer_list<size_t> shape) {
  auto *kept = new std::vector<real>(std::move(values));
  nb::capsule owner(kept, [](void *p) noexcept { delete static_cast<std::vector<real> *>(p); });
  return nb::ndarray<nb::numpy, real>(kept->data(), shape, owner);
}

using Slopes = Array<double, nb::ndim<1>>;
using Slopes3 = Array<double, nb::ndim<2>>;
using Slopes9 = Array<double, nb::ndim<3>>;

static std::vector<double> numbers(const Slopes &values) { return {values.data(), values.data() + values.size()}; }

// atom energies (N,) eV, forces (N, 3) eV/A, virials (N, 3, 3) eV: each atom's share of -r (x) dE/dr
static nb::tuple of_atoms(const Pairs &pairs, const Result &result) {
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

static Pairs pairs_of(const Species &species, const Neighbours &neighbours, const Vectors &vectors, double cutoff,
                      int n_species, bool keep_slots) {
  const int n = (int) neighbours.shape(0), k = (int) neighbours.shape(1);
  if ((int) species.shape(0) != n || (int) vectors.shape(0) != n || (int) vectors.shape(1) != k ||
      vectors.shape(2) != 3)
    throw std::runtime_error("got arrays that do not fit; wanted species (N,), neighbours (N, K), vectors (N, K, 3); "
                             "correct the call");
  for (int i = 0; i < n; i++)
    if (species.data()[i] < 0 || species.data()[i] >= n_species)
      throw std::runtime_error("got species " + std::to_string(species.data()[i]) + "; wanted 0 to " +
                               std::to_string(n_species - 1) + "; use the model's elements");
  for (int s = 0; s < n * k; s++)
    if (neighbours.data()[s] < 0 || neighbours.data()[s] >= n)
      throw std::runtime_error("got neighbour " + std::to_string(neighbours.data()[s]) + "; wanted 0 to " +
                               std::to_string(n - 1) + "; correct the graph");
  for (size_t s = 0; s < vectors.size(); s++)
    if (!std::isfinite(vectors.data()[s]))
      throw std::runtime_error("got a vector between atoms that is NaN or infinite; wanted finite numbers; check the "
                               "positions and the cell");
  return whole_system(n, k, species.data(), neighbours.data(), vectors.data(), cutoff, keep_slots);
}

template <class real> class Face {
 public:
  Face(const Weights &weights, const std::string &isa, int threads, int n_bins, int moment_species, bool keep)
      : width(weights.width), painn(weights, Options{isa, threads, n_bins, moment_species, keep}) {}

  nb::tuple evaluate(const Pairs &pairs) {  // as of_atoms
    n = pairs.n_owned;
    {
      nb::gil_scoped_release release;
      painn.evaluate(pairs, result);
    }
    return of_atoms(pairs, result);
  }

  // scalar features (N, F) after a layer of the last evaluation
  auto features(int layer) const {
    const size_t f = width;
    std::vector<double> q(n * f);
    const real *from = painn.features(layer);
    for (size_t i = 0; i < n; i++) std::copy_n(from + i * painn.feature_stride(), f, &q[i * f]);
    return numpy(std::move(q), {n, f});
  }

  void set_head_weights(const Slopes &weights) { painn.set_head_weights(numbers(weights)); }
  size_t memory() const { return painn.memory(); }
  std::string isa() const { return painn.isa(); }

 private:
  size_t width, n = 0;
  PaiNN<real> painn;
  Result result;
};

template <class real> class TrainingFace {
 public:
  TrainingFace(const nb::object &weights, const std::string &isa, int threads, int n_bins, int moment_species)
      : weights(weights),
        training(nb::cast<const Weights &>(weights), Options{isa, threads, n_bins, moment_species, false}) {}

  void set_weights(const nb::object &given) {
    training.set_weights(nb::cast<const Weights &>(given));
    weights = given;
  }

  nb::tuple evaluate(const nb::object &given) {  // as of_atoms
    const Pairs &of = nb::cast<const Pairs &>(given);
    {
      nb::gil_scoped_release release;
      training.evaluate(of, result);
    }
    pairs = given;
    return of_atoms(of, result);
  }

  // Gradients by the parameters' names, flat, of those in `wanted`, of a loss with the slopes given: with respect to
  // what the last evaluate returned, energies (N,), forces (N, 3), virials (N, 3, 3). "vectors": of the pairs' vectors.
  nb::dict gradients(const Slopes &energies, const Slopes3 &forces, const Slopes9 &virials,
                     const std::vector<std::string> &wanted) {
    const Pairs &of = nb::cast<const Pairs &>(pairs);
    const size_t n = of.n_owned;
    if (energies.size() != n || forces.size() != 3 * n || virials.size() != 9 * n)
      throw std::runtime_error("got slopes that do not fit; wanted (N,), (N, 3), (N, 3, 3); correct the call");
    std::vector<double> changes(of.vectors.size());
    std::vector<std::pair<std::string, std::vector<real>>> found;
    {
      nb::gil_scoped_release release;
      for (size_t i = 0; i < n; i++)
        for (int p = of.first[i]; p < of.first[i + 1]; p++)
          for (int a = 0; a < 3; a++) {
            double t = forces.data()[3 * i + a] - forces.data()[3 * (size_t) of.neighbour[p] + a];
            for (int b = 0; b < 3; b++) t -= virials.data()[9 * i + 3 * b + a] * of.vectors[3 * (size_t) p + b];
            changes[3 * (size_t) p + a] = t;
          }
      training.gradients(
          energies.data(), changes.data(),
          [&](const std::string &name) { return std::find(wanted.begin(), wanted.end(), name) != wanted.end(); },
          [&](const std::string &name, std::vector<real> values) {
            if (name == "vectors") add_virials(of, virials.data(), values);
            found.emplace_back(name, std::move(values));
          });
    }
    nb::dict by_name;
    for (auto &[name, values] : found) {
      const size_t size = values.size();
      by_name[name.c_str()] = numpy(std::move(values), {size});
    }
    return by_name;
  }

  // Scalar features (N, layers * F) of the last evaluate after each of `layers`, side by side.
  auto features(const std::vector<int> &layers) const {
    const Pairs &of = nb::cast<const Pairs &>(pairs);
    std::vector<real> rows((size_t) of.n_owned * layers.size() * width());
    copy(layers, of.n_owned, rows.data(), [&](int l) { return training.features(l); });
    return numpy(std::move(rows), {(size_t) of.n_owned, layers.size() * width()});
  }

  // Their changes (T, N, layers * F) along displacements (T, N, 3) of the atoms and strains (T, 3, 3) of the whole:
  // r_ij changes by d_j - d_i + strain r_ij.
  auto tangents(const Slopes9 &displacements, const Slopes9 &strains, const std::vector<int> &layers) {
    const Pairs &of = nb::cast<const Pairs &>(pairs);
    const size_t n = of.n_owned, size = n * layers.size() * width(), n_tangents = displacements.shape(0);
    if (displacements.size() != 3 * n * n_tangents || strains.size() != 9 * n_tangents)
      throw std::runtime_error("got changes that do not fit; wanted (T, N, 3) and (T, 3, 3); correct the call");
    std::vector<real> rows(n_tangents * size);
    {
      nb::gil_scoped_release release;
      const int top = 1 + *std::max_element(layers.begin(), layers.end());
      std::vector<double> changes(of.vectors.size());
      for (size_t t = 0; t < n_tangents; t++) {
        const double *moved = displacements.data() + 3 * n * t, *strain = strains.data() + 9 * t;
        for (size_t i = 0; i < n; i++)
          for (int p = of.first[i]; p < of.first[i + 1]; p++)
            for (int a = 0; a < 3; a++) {
              double change = moved[3 * (size_t) of.neighbour[p] + a] - moved[3 * i + a];
              for (int b = 0; b < 3; b++) change += strain[3 * a + b] * of.vectors[3 * (size_t) p + b];
              changes[3 * (size_t) p + a] = change;
            }
        training.tangents(changes.data(), top);
        copy(layers, n, rows.data() + t * size, [&](int l) { return training.feature_tangents(l); });
      }
    }
    return numpy(std::move(rows), {n_tangents, n, layers.size() * width()});
  }

  size_t memory() const { return training.memory(); }

 private:
  // What the loss has of the vectors directly: a virial is -r (x) dE/dr.
  void add_virials(const Pairs &of, const double *virials, std::vector<real> &vectors) const {
    for (int i = 0; i < of.n_owned; i++)
      for (int p = of.first[i]; p < of.first[i + 1]; p++)
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
};

template <class real> static void bind(nb::module_ &m, const std::string &name) {
  nb::class_<Face<real>>(m, name.c_str())
      .def(nb::init<const Weights &, const std::string &, int, int, int, bool>(), "weights"_a, "isa"_a, "threads"_a,
           "n_bins"_a, "moment_species"_a, "keep_features"_a)
      .def("evaluate", &Face<real>::evaluate, "pairs"_a)
      .def("features", &Face<real>::features, "layer"_a)
      .def("set_head_weights", &Face<real>::set_head_weights, "weights"_a)
      .def_prop_ro("memory", &Face<real>::memory)
      .def_prop_ro("isa", &Face<real>::isa);
  nb::class_<TrainingFace<real>>(m, (name + "Training").c_str())
      .def(nb::init<const nb::object &, const std::string &, int, int, int>(), "weights"_a, "isa"_a, "threads"_a,
           "n_bins"_a, "moment_species"_a)
      .def("set_weights", &TrainingFace<real>::set_weights, "weights"_a)
      .def("evaluate", &TrainingFace<real>::evaluate, "pairs"_a)
      .def("gradients", &TrainingFace<real>::gradients, "energies"_a, "forces"_a, "virials"_a, "wanted"_a)
      .def("features", &TrainingFace<real>::features, "layers"_a)
      .def("tangents", &TrainingFace<real>::tangents, "displacements"_a, "strains"_a, "layers"_a)
      .def_prop_ro("memory", &TrainingFace<real>::memory);
}

NB_MODULE(_engine, m) {
  nb::set_leak_warnings(false);  // a graph that is kept to the end of the process is no leak
  nb::class_<Head>(m, "Head")
      .def("__init__", [](Head *self) { new (self) Head(); })
      .def(
          "__init__",
          [](Head *self, const std::vector<int> &layers, const std::string &function, double parameter,
             const Slopes &shift, const Slopes &factor, const Slopes &points, const Slopes &bias,
             const Slopes &weights) {
            new (self) Head{function_of(function), parameter,       layers,        numbers(shift),
                            numbers(factor),       numbers(points), numbers(bias), numbers(weights)};
          },
          "layers"_a, "function"_a, "parameter"_a, "shift"_a, "factor"_a, "points"_a, "bias"_a, "weights"_a);
  nb::class_<Weights>(m, "Weights")
      .def("__init__", [](Weights *self, int n_species, int width, int n_layers, double norm_epsilon, double cutoff,
                          const std::vector<double> &centres, double basis_width, bool bessel, bool polynomial,
                          const Head &head, const nb::callable &get) {
        new (self) Weights(read_weights(n_species, width, n_layers, norm_epsilon,
                                        Basis{cutoff, centres, basis_width, bessel, polynomial}, head,
                                        [&](const std::string &name) { return numbers(nb::cast<Slopes>(get(name))); }));
      });
  nb::class_<Pairs>(m, "Pairs")
      .def(
          "__init__",
          [](Pairs *self, int n_species, double cutoff, const Species &species, const Neighbours &neighbours,
             const Vectors &vectors, bool keep_slots) {
            new (self) Pairs(pairs_of(species, neighbours, vectors, cutoff, n_species, keep_slots));
          },
          "n_species"_a, "cutoff"_a, "species"_a, "neighbours"_a, "vectors"_a, "keep_slots"_a)
      .def("slots", [](const Pairs &self) { return numpy(self.slots, {self.slots.size()}); })
      .def_static("joined", &joined, "systems"_a);
  bind<float>(m, "Float");
  bind<double>(m, "Double");
  m.def("available_isas", &available_isas);
  m.def(
      "choose_bins",
      [](const Weights &w, const Pairs &sample, bool float64) {
        const auto choice = choose_bins(w, sample, table_tolerance(float64));
        return nb::make_tuple(choice.n_bins, choice.error);
      },
      "weights"_a, "sample"_a, "float64"_a);
}

}  // namespace tlmd::engine
