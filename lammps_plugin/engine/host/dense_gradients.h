// Sums of the gradients of dense layers, of each thread, and their way to PyTorch's parameters.
#ifndef TLMD_ENGINE_DENSE_GRADIENTS_H
#define TLMD_ENGINE_DENSE_GRADIENTS_H

#include "buffer.h"
#include "kernels/arguments.h"
#include "layout.h"

#include <string>
#include <utility>

namespace tlmd::engine {

// A dense layer by its parameters' name, and where the sums of its gradients are.
template <class real> struct Place {
  std::string name;
  const Linear *linear;
  Layout layout;
  real *TrainGradients<real>::*weight, *TrainGradients<real>::*bias;
};

// The dense layers of an update.
template <class real> static std::vector<Place<real>> update_places(const Weights &w, int l) {
  using G = TrainGradients<real>;
  const std::string update = "net.updates." + std::to_string(l);
  const Weights::Layer &layer = w.layers[l];
  return {{update + ".mix", &layer.VU, VU_layout(), &G::VU, nullptr},
          {update + ".context.0", &layer.a0, a0_layout(), &G::a0, &G::a0_bias},
          {update + ".context.2", &layer.a2, a2_layout(l == w.n_layers - 1), &G::a2, &G::a2_bias}};
}

// Those of what follows it: phi of the next layer, or the readout.
template <class real> static std::vector<Place<real>> later_places(const Weights &w, int l) {
  using G = TrainGradients<real>;
  if (l == w.n_layers - 1) return {{"net.energy.0", &w.energy0, {}, &G::phi0, &G::phi0_bias}};
  const std::string message = "net.messages." + std::to_string(l + 1);
  const Weights::Layer &next = w.layers[l + 1];
  return {{message + ".context.0", &next.phi0, {}, &G::phi0, &G::phi0_bias},
          {message + ".context.2", &next.phi2, phi2_layout(), &G::phi2, &G::phi2_bias}};
}

template <class real> class DenseGradients {
  using G = TrainGradients<real>;

 public:
  DenseGradients(const Weights &w, int n_threads)
      : width(padded(w.width)), n_layers(w.n_layers), n_threads(n_threads), update(n_layers), later(n_layers) {}

  // Places, all zero, for what is wanted, and for `moments` rows of layer 1.
  template <class Wanted> void choose(const Weights &w, const Wanted &wanted, int moments) {
    size_t size = 0;
    std::vector<std::pair<real **, size_t>> parts;
    sums.assign((size_t) n_threads * n_layers, {});
    auto take = [&](int l, real *G::*which, size_t n) {
      for (int t = 0; t < n_threads; t++) {
        parts.emplace_back(&(sums[(size_t) t * n_layers + l].*which), size);
        size += (n + 15) / 16 * 16;
      }
    };
    auto take_if = [&](int l, const std::string &name, real *G::*which, size_t n, char &taken) {
      if (!which || !wanted(name)) return;
      take(l, which, n);
      taken = 1;
    };
    auto take_places = [&](int l, const std::vector<Place<real>> &places, char &taken) {
      for (const auto &place : places) {
        const size_t n = place.layout.columns(*place.linear);
        take_if(l, place.name + ".weight", place.weight, place.layout.rows(*place.linear) * n, taken);
        take_if(l, place.name + ".bias", place.bias, n, taken);
      }
    };
    const int last = n_layers - 1;
    for (int l = 0; l < n_layers; l++) {
      update[l] = later[l] = 0;
      take_places(l, update_places<real>(w, l), update[l]);
      take_places(l, later_places<real>(w, l), later[l]);
    }
    take_if(last, "net.energy.2.weight", &G::energy, padded(w.energy2.n_in), later[last]);
    take_if(last, "net.energy.2.bias", &G::energy_bias, 1, later[last]);
    if (moments)
      for (auto which : {&G::moments_q, &G::moments_mu}) take(0, which, (size_t) padded(moments) * width);
    real *start = arena.reserve(size + 1);
    std::fill_n(start, size, real(0));
    for (auto [part, at] : parts) *part = start + at;
  }

  // Whether something of the update, or of what follows it, is wanted.
  bool update_wanted(int l) const { return update[l]; }
  bool later_wanted(int l) const { return later[l]; }
  bool moments_wanted() const { return of(0, 0).moments_q; }
  const G &of(int l, int thread) const { return sums[(size_t) thread * n_layers + l]; }
  size_t bytes() const { return arena.bytes(); }

  // visit(species, basis function, part, channel, gradient) of layer 1's product of filter and phi; parts: s, vs
  template <class Visit> void for_moments(int n_species, int n_basis, const Visit &visit) const {
    for (int t = 0; t < n_threads; t++)
      for (int part = 0; part < 2; part++) {
        const real *row = part == 0 ? of(0, t).moments_q : of(0, t).moments_mu;
        for (int z = 0; z < n_species; z++)
          for (int k = 0; k < n_basis; k++, row += width)
            for (int c = 0; c < width; c++) visit(z, k, part, c, row[c]);
      }
  }

  template <class Put> void put(const Weights &w, const Put &put, int l) const {
    for (const auto &places : {update_places<real>(w, l), later_places<real>(w, l)})
      for (const auto &place : places) {
        if (const auto parts = of_threads(l, place.weight); !parts.empty())
          put(place.name + ".weight", unpacked_weight(*place.linear, place.layout, parts));
        if (const auto parts = of_threads(l, place.bias); !parts.empty())
          put(place.name + ".bias", unpacked_bias(*place.linear, place.layout, parts));
      }
    const Linear row{w.energy2.n_in, 1, {}, {}};  // the weight, summed like a bias
    if (const auto parts = of_threads(l, &G::energy); !parts.empty())
      put("net.energy.2.weight", unpacked_bias(row, {}, parts));
    if (const auto parts = of_threads(l, &G::energy_bias); !parts.empty())
      put("net.energy.2.bias", unpacked_bias(w.energy2, {}, parts));
  }

 private:
  std::vector<const real *> of_threads(int l, real *G::*which) const {
    std::vector<const real *> parts;
    for (int t = 0; which && t < n_threads; t++)
      if (const real *part = of(l, t).*which) parts.push_back(part);
    return parts;
  }

  int width, n_layers, n_threads;
  std::vector<char> update, later;  // of each layer, whether something is wanted
  std::vector<G> sums;              // (threads, layers)
  Buffer<real> arena;
};

}  // namespace tlmd::engine
#endif
