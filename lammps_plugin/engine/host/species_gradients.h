// Gradients of what a species is and sends in layer 1: the embedding and phi's dense layers there.
#ifndef TLMD_ENGINE_SPECIES_GRADIENTS_H
#define TLMD_ENGINE_SPECIES_GRADIENTS_H

#include "dense_gradients.h"
#include "packed.h"

#include <algorithm>
#include <cmath>

namespace tlmd::engine {

template <class real> class SpeciesGradients {
 public:
  template <class Wanted> static bool wanted(const Wanted &wanted) {
    return wanted("net.embedding.weight") || wanted(PHI + "0.weight") || wanted(PHI + "0.bias") ||
           wanted(PHI + "2.weight") || wanted(PHI + "2.bias");
  }

  void reserve(const Packed<real> &packed) {
    n_species = packed.n_species, lanes = packed.lanes;
    phi.reserve((size_t) 2 * n_species * packed.width);
  }

  // Tangents of the adjoints of phi_s and phi_vs, (species, 2, lanes), to be written by layer 1's message.
  real *block(int b) { return phi.data() + b * block_size(); }
  size_t block_size() const { return (size_t) n_species * 2 * lanes; }

  // Layer 1 by moments: from the gradients of the product of filter and phi.
  void from_moments(const Packed<real> &packed, const DenseGradients<real> &sums) {
    std::fill_n(phi.data(), (size_t) packed.width * 2 * n_species, real(0));
    sums.for_moments(n_species, packed.n_basis, [&](int z, int k, int part, int c, real gradient) {
      const int b = c / lanes, lane = c % lanes;
      block(b)[(z * 2 + part) * lanes + lane] += (real) (gradient * packed.filter(0, b)[(k * 3 + part) * lanes + lane]);
    });
  }

  // put(name, values) of the embedding and of phi's layers; state (blocks, N, 4, lanes): tangents of the adjoints of q
  template <class Put>
  void put(const Put &put, const Weights &w, const Pairs &pairs, const real *state, int width) const {
    const int f = w.width;
    Layers sums{std::vector<double>(w.layers[0].phi0.weight.size()), std::vector<double>(f),
                std::vector<double>(w.layers[0].phi2.weight.size()), std::vector<double>(3 * f)};
    std::vector<double> embedding = embedding_gradient(pairs, state, width);
    for (int z = 0; z < n_species; z++) add_species(w, z, &embedding[(size_t) z * width], sums);
    std::vector<real> rows;
    for (int z = 0; z < n_species; z++)
      rows.insert(rows.end(), &embedding[(size_t) z * width], &embedding[(size_t) z * width] + f);
    put("net.embedding.weight", std::move(rows));
    put(PHI + "0.weight", std::vector<real>(sums.weight0.begin(), sums.weight0.end()));
    put(PHI + "0.bias", std::vector<real>(sums.bias0.begin(), sums.bias0.end()));
    put(PHI + "2.weight", std::vector<real>(sums.weight2.begin(), sums.weight2.end()));
    put(PHI + "2.bias", std::vector<real>(sums.bias2.begin(), sums.bias2.end()));
  }

  size_t bytes() const { return phi.bytes(); }

 private:
  inline static const std::string PHI = "net.messages.0.context.";

  struct Layers {  // gradients of phi's dense layers
    std::vector<double> weight0, bias0, weight2, bias2;
  };

  // (species, width): what the atoms' own q sums to
  std::vector<double> embedding_gradient(const Pairs &pairs, const real *state, int width) const {
    std::vector<double> embedding((size_t) n_species * width);
    const size_t state_block = (size_t) pairs.n_owned * 4 * lanes;
    for (int b = 0; b < width / lanes; b++)
      for (int i = 0; i < pairs.n_owned; i++) {
        double *sum = &embedding[(size_t) pairs.species[i] * width + b * lanes];
        const real *row = state + b * state_block + (size_t) i * 4 * lanes;
        for (int lane = 0; lane < lanes; lane++) sum[lane] += row[lane];
      }
    return embedding;
  }

  // phi = W2 SiLU(W0 q + b0) + b2 of one species in reverse: adds to the layers' gradients and to that of q
  void add_species(const Weights &w, int z, double *q_gradient, Layers &sums) const {
    const int f = w.width;
    const Linear &first = w.layers[0].phi0, &second = w.layers[0].phi2;
    const double *q = &w.embedding[(size_t) z * f];
    std::vector<double> hidden(first.bias), active(f), adjoint(f);
    for (int h = 0; h < f; h++) {
      for (int i = 0; i < f; i++) hidden[h] += first.weight[(size_t) h * f + i] * q[i];
      active[h] = hidden[h] / (1 + std::exp(-hidden[h]));
    }
    for (int o = 0; o < 2 * f; o++) {  // phi_s, phi_vs
      const int part = o / f, c = o % f;
      const double slope = phi.data()[(((size_t) (c / lanes) * n_species + z) * 2 + part) * lanes + c % lanes];
      sums.bias2[o] += slope;
      for (int h = 0; h < f; h++) {
        sums.weight2[(size_t) o * f + h] += slope * active[h];
        adjoint[h] += slope * second.weight[(size_t) o * f + h];
      }
    }
    for (int h = 0; h < f; h++) {
      const double s = 1 / (1 + std::exp(-hidden[h]));
      adjoint[h] *= s * (1 + hidden[h] * (1 - s));
      sums.bias0[h] += adjoint[h];
      for (int i = 0; i < f; i++) {
        sums.weight0[(size_t) h * f + i] += adjoint[h] * q[i];
        q_gradient[i] += adjoint[h] * first.weight[(size_t) h * f + i];
      }
    }
  }

  int n_species = 0, lanes = 1;
  Buffer<real> phi;  // (blocks, species, 2, lanes)
};

}  // namespace tlmd::engine
#endif
