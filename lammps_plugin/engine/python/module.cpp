// The engine as the Python module tlmd._engine. python/tlmd/_engine.pyi documents what is bound here; a test compares
// the two.
#include "trainer.h"

#include <cmath>
#include <stdexcept>

using namespace nanobind::literals;

namespace tlmd::engine {

static Pairs pairs_of(const Array<int, 1> &species, const Array<int, 2> &neighbours, const Array<double, 3> &vectors,
                      double cutoff, int n_species, bool keep_slots) {
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

static void bind_weights(nb::module_ &m) {
  using Numbers = Array<double, 1>;
  nb::class_<Head>(m, "Head")
      .def("__init__", [](Head *self) { new (self) Head(); })
      .def(
          "__init__",
          [](Head *self, const std::vector<int> &layers, const std::string &function, double parameter,
             const Numbers &shift, const Numbers &factor, const Numbers &points, const Numbers &bias,
             const Numbers &weights) {
            new (self) Head{function_of(function), parameter,       layers,        numbers(shift),
                            numbers(factor),       numbers(points), numbers(bias), numbers(weights)};
          },
          "layers"_a, "function"_a, "parameter"_a, "shift"_a, "factor"_a, "points"_a, "bias"_a, "weights"_a);
  nb::class_<Basis>(m, "Basis")
      .def(
          "__init__",
          [](Basis *self, double cutoff, const std::vector<double> &centres, double width, bool bessel,
             bool polynomial) { new (self) Basis{cutoff, centres, width, bessel, polynomial}; },
          "cutoff"_a, "centres"_a, "width"_a, "bessel"_a, "polynomial"_a);
  nb::class_<Weights>(m, "Weights")
      .def(
          "__init__",
          [](Weights *self, int n_species, int width, int n_layers, double norm_epsilon, const Basis &basis,
             const Basis &first_basis, const Head &head, const nb::callable &get) {
            new (self)
                Weights(read_weights(n_species, width, n_layers, norm_epsilon, basis, first_basis, head,
                                     [&](const std::string &name) { return numbers(nb::cast<Numbers>(get(name))); }));
          },
          "n_species"_a, "width"_a, "n_layers"_a, "norm_epsilon"_a, "basis"_a, "first_basis"_a, "head"_a, "get"_a);
}

static void bind_pairs(nb::module_ &m) {
  nb::class_<Pairs>(m, "Pairs")
      .def(
          "__init__",
          [](Pairs *self, int n_species, double cutoff, const Array<int, 1> &species, const Array<int, 2> &neighbours,
             const Array<double, 3> &vectors, bool keep_slots) {
            new (self) Pairs(pairs_of(species, neighbours, vectors, cutoff, n_species, keep_slots));
          },
          "n_species"_a, "cutoff"_a, "species"_a, "neighbours"_a, "vectors"_a, "keep_slots"_a)
      .def("slots", [](const Pairs &self) { return numpy(self.slots, {self.slots.size()}); })
      .def_static("joined", &joined, "systems"_a);
}

template <class real> static void bind_engine(nb::module_ &m, const std::string &name) {
  nb::class_<Evaluator<real>>(m, name.c_str())
      .def(nb::init<const Weights &, const std::string &, int, int, int, bool>(), "weights"_a, "isa"_a, "threads"_a,
           "n_bins"_a, "moment_species"_a, "keep_features"_a)
      .def("evaluate", &Evaluator<real>::evaluate, "pairs"_a)
      .def("features", &Evaluator<real>::features, "layer"_a)
      .def("set_head_weights", &Evaluator<real>::set_head_weights, "weights"_a)
      .def_prop_ro("memory", &Evaluator<real>::memory)
      .def_prop_ro("isa", &Evaluator<real>::isa);
  nb::class_<Trainer<real>>(m, (name + "Training").c_str())
      .def(nb::init<const nb::object &, const std::string &, int, int, int>(), "weights"_a, "isa"_a, "threads"_a,
           "n_bins"_a, "moment_species"_a)
      .def("set_weights", &Trainer<real>::set_weights, "weights"_a)
      .def("evaluate", &Trainer<real>::evaluate, "pairs"_a)
      .def("gradients", &Trainer<real>::gradients, "energies"_a, "forces"_a, "virials"_a, "wanted"_a)
      .def("features", &Trainer<real>::features, "layers"_a)
      .def("tangents", &Trainer<real>::tangents, "displacements"_a, "strains"_a, "layers"_a)
      .def_prop_ro("memory", &Trainer<real>::memory);
}

NB_MODULE(_engine, m) {
  nb::set_leak_warnings(false);  // a graph that is kept to the end of the process is no leak
  bind_weights(m);
  bind_pairs(m);
  bind_engine<float>(m, "Float");
  bind_engine<double>(m, "Double");
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
