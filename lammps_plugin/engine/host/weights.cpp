#include "engine/weights.h"

#include <stdexcept>

namespace tlmd::engine {

Function function_of(const std::string &name) {
  const char *const names[] = {"linear", "fourier", "gaussian", "polynomial"};
  for (int k = 0; k < 4; k++)
    if (name == names[k]) return (Function) k;
  throw std::runtime_error(
      "got kernel function " + name +
      "; wanted linear, fourier, gaussian or polynomial; fit and export again, or install the tlmd of the export");
}

Weights read_weights(int n_species, int width, int n_layers, double norm_epsilon, const Basis &basis,
                     const Basis &first, const Head &head,
                     const std::function<std::vector<double>(const std::string &)> &get) {
  auto numbers = [&](const std::string &name, size_t n) {
    auto values = get(name);
    if (values.size() != n)
      throw std::runtime_error("got " + std::to_string(values.size()) + " numbers in " + name + "; wanted " +
                               std::to_string(n) + "; export the model again");
    return values;
  };
  auto linear = [&](const std::string &name, int n_in, int n_out, bool bias = true) {
    Linear l{n_out, n_in, numbers(name + ".weight", (size_t) n_in * n_out), {}};
    if (bias) l.bias = numbers(name + ".bias", n_out);
    return l;
  };
  if (first.cutoff < basis.cutoff || first.size() != basis.size())
    throw std::runtime_error("got a first layer of " + std::to_string(first.cutoff) + " A and " +
                             std::to_string(first.size()) + " functions; wanted at least " +
                             std::to_string(basis.cutoff) + " A and " + std::to_string(basis.size()) +
                             "; export the model again");
  const int f = width;
  Weights w;
  w.n_species = n_species, w.width = f, w.n_layers = n_layers;
  w.norm_epsilon = norm_epsilon, w.basis = basis, w.first_basis = first;
  w.embedding = numbers("net.embedding.weight", (size_t) n_species * f);
  for (int l = 0; l < n_layers; l++) {
    const std::string message = "net.messages." + std::to_string(l), update = "net.updates." + std::to_string(l);
    w.layers.push_back({linear(message + ".filter", basis.n_radial(), 3 * f), linear(message + ".context.0", f, f),
                        linear(message + ".context.2", f, 3 * f), linear(update + ".mix", f, 2 * f, false),
                        linear(update + ".context.0", 2 * f, f), linear(update + ".context.2", f, 3 * f)});
  }
  w.head = head;
  if (!head.layers.empty() && get("net.energy.0.weight").empty()) {
    w.energy0 = {f / 2, f, std::vector<double>((size_t) f * (f / 2)), std::vector<double>(f / 2)};
    w.energy2 = {1, f / 2, std::vector<double>(f / 2), {0.0}};
  } else {
    w.energy0 = linear("net.energy.0", f, f / 2);
    w.energy2 = linear("net.energy.2", f / 2, 1);
  }
  w.scale = numbers("scale", n_species);
  w.reference = numbers("reference", n_species);
  if (!get("repulsion.radius").empty())
    w.repulsion = {numbers("repulsion.strength", 1)[0], numbers("repulsion.radius", (size_t) n_species * n_species)};
  return w;
}

}  // namespace tlmd::engine
