// The parameters of a model, in float64 and as PyTorch keeps them.
#ifndef TLMD_ENGINE_WEIGHTS_H
#define TLMD_ENGINE_WEIGHTS_H

#include "basis.h"
#include "function.h"
#include "repulsion.h"

#include <functional>
#include <string>
#include <vector>

namespace tlmd::engine {

// A dense layer: weight (n_out, n_in), row-major; bias (n_out,) or empty.
struct Linear {
  int n_out = 0, n_in = 0;
  std::vector<double> weight, bias;
};

// The kernel head of models/mekrr.py (method `flat` there), after the readout; features of `layers` side by side.
struct Head {
  Function function = LINEAR;
  double parameter = 0;               // gaussian: 1 / (2 length^2); polynomial: degree
  std::vector<int> layers;            // none: there is no head
  std::vector<double> shift, factor;  // (species, n_in)
  std::vector<double> points, bias;   // (n_out, n_in), (n_out,); linear: none
  std::vector<double> weights;        // (species, n_out); fourier: those of cosines, then of sines, (species, 2 n_out)
};

// A function by its name; std::runtime_error if there is no such.
Function function_of(const std::string &name);

// PaiNN: what models/painn.py and models/potential.py hold.
struct Weights {
  int n_species = 0, width = 0, n_layers = 0;
  double norm_epsilon = 0;        // |V| is sqrt(V^2 + epsilon^2)
  Basis basis, first_basis;       // of the layers, and of layer 1, which may reach further; as many functions
  std::vector<double> embedding;  // (n_species, width)
  struct Layer {
    Linear filter;      // W: (3F, n_radial)
    Linear phi0, phi2;  // phi: `context` of the message, (F, F) and (3F, F)
    Linear VU;          // V and U: `mix` of the update, (2F, F)
    Linear a0, a2;      // a_ss, a_vv, a_sv: `context` of the update, (F, 2F) and (3F, F)
  };
  std::vector<Layer> layers;
  Linear energy0, energy2;  // zero if there is a head and no such weights
  Head head;
  std::vector<double> scale, reference;  // (n_species,) eV
  Repulsion repulsion;                   // none in older files
};

// Weights whose parameters `get` gives by their names in Potential's state_dict, row-major. Throws std::runtime_error
// if one has another number of values than the architecture asks for, or if layer 1 reaches less far than the others.
Weights read_weights(int n_species, int width, int n_layers, double norm_epsilon, const Basis &, const Basis &first,
                     const Head &, const std::function<std::vector<double>(const std::string &)> &get);

}  // namespace tlmd::engine
#endif
