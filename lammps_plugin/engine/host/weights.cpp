// Weights by name, pairs from a matrix of neighbours, forces from slopes of pairs.
#include "engine/painn.h"

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

Weights read_weights(int n_species, int width, int n_layers, double norm_epsilon, const Basis &basis, const Head &head,
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
  const int f = width;
  Weights w;
  w.n_species = n_species, w.width = f, w.n_layers = n_layers;
  w.norm_epsilon = norm_epsilon, w.basis = basis;
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
  return w;
}

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
