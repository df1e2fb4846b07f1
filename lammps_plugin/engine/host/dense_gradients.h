// Sums of the gradients of dense layers, of each thread, and their way to PyTorch's parameters.
#ifndef TLMD_ENGINE_DENSE_GRADIENTS_H
#define TLMD_ENGINE_DENSE_GRADIENTS_H

#include "pack.h"

#include <algorithm>

namespace tlmd::engine {

// A dense layer by its parameters' name, and where the sums of its gradients are.
template <class real> struct Place {
  std::string name;
  const Linear *linear;
  Layout layout;
  real *TrainGradients<real>::*weight, *TrainGradients<real>::*bias;
};

// The dense layers of an update and what follows it.
template <class real> static std::vector<Place<real>> places(const Weights &w, int l) {
  using G = TrainGradients<real>;
  const bool last = l == w.n_layers - 1;
  const std::string update = "net.updates." + std::to_string(l), message = "net.messages." + std::to_string(l + 1);
  std::vector<Place<real>> list{
      {update + ".mix", &w.layers[l].mix, mix_layout(), &G::mix, nullptr},
      {update + ".context.0", &w.layers[l].update0, update0_layout(), &G::update0, &G::update0_bias},
      {update + ".context.2", &w.layers[l].update2, update2_layout(last), &G::update2, &G::update2_bias}};
  if (last) {
    list.push_back({"net.energy.0", &w.energy0, {}, &G::context0, &G::context0_bias});
  } else {
    const Weights::Layer &next = w.layers[l + 1];
    list.push_back({message + ".context.0", &next.context0, {}, &G::context0, &G::context0_bias});
    list.push_back({message + ".context.2", &next.context2, context2_layout(), &G::context2, &G::context2_bias});
  }
  return list;
}

template <class real> class DenseGradients {
  using G = TrainGradients<real>;

 public:
  DenseGradients(const Weights &w, int n_threads)
      : width(padded(w.width)), n_layers(w.n_layers), n_threads(n_threads), any(n_layers), inner(n_layers) {}

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
    for (int l = 0; l < n_layers; l++) {
      any[l] = inner[l] = 0;
      auto take_if = [&](const std::string &name, real *G::*which, size_t n) {
        if (!which || !wanted(name)) return;
        take(l, which, n);
        const bool after = which != &G::mix && which != &G::update0 && which != &G::update0_bias &&
                           which != &G::update2 && which != &G::update2_bias;
        (after ? any : inner)[l] = 1;
      };
      for (const auto &place : places<real>(w, l)) {
        const size_t n = place.layout.columns(*place.linear);
        take_if(place.name + ".weight", place.weight, place.layout.rows(*place.linear) * n);
        take_if(place.name + ".bias", place.bias, n);
      }
      if (l < n_layers - 1) continue;
      take_if("net.energy.2.weight", &G::energy, padded(w.energy2.n_in));
      take_if("net.energy.2.bias", &G::energy_bias, 1);
    }
    if (moments)
      for (auto which : {&G::scalar, &G::vector}) take(0, which, (size_t) padded(moments) * width);
    real *start = arena.reserve(size + 1);
    std::fill_n(start, size, real(0));
    for (auto [part, at] : parts) *part = start + at;
  }

  // Whether something of the update (inner), or of what follows it, is wanted.
  bool wanted(int l, bool of_update) const { return of_update ? inner[l] : any[l]; }
  const G &of(int l, int thread) const { return sums[(size_t) thread * n_layers + l]; }
  size_t bytes() const { return arena.bytes(); }

  template <class Put> void put(const Weights &w, const Put &put, int l) const {
    for (const auto &place : places<real>(w, l)) {
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
  std::vector<char> any, inner;
  std::vector<G> sums;  // (threads, layers)
  Buffer<real> arena;
};

}  // namespace tlmd::engine
#endif
