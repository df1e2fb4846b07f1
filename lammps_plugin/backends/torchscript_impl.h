// SPDX-License-Identifier: MIT
// The libtorch half of TorchScript, for torchscript*.cpp alone.
#ifndef TLMD_TORCHSCRIPT_IMPL_H
#define TLMD_TORCHSCRIPT_IMPL_H

#include "slots.h"
#include "torchscript.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/script.h>

namespace tlmd {

class Halo;

struct TorchScript::Impl {
  using Tensor = torch::Tensor;

  torch::jit::Module potential, net;
  torch::Device device = torch::kCPU;
  torch::ScalarType dtype = torch::kFloat;
  int n_layers = 0, width = 0;
  double reach = 0;  // A, of the pairs
  bool kernel = false;
  std::vector<double> ratio;  // N / n_z of each species, for a kernel head
  engine::Repulsion repulsion;
  std::vector<Tensor> features;  // of the last evaluation, after each layer

  /// Atom energies (N,) eV, from the scalar features after each layer (N, F).
  Tensor read_out(const std::vector<Tensor> &features, const Tensor &species);
  /// Standard deviations of energies with the sums psi (B, S, D).
  Tensor deviation(const Tensor &psi);
  engine::Head head();

  void evaluate_whole(const engine::Pairs &pairs, engine::Result &result);
  /// PaiNN, with the exchange of ghosts between its layers; real: float | double, the precision of the network.
  template <class real> void evaluate_layers(const engine::Pairs &pairs, Halo &halo, engine::Result &result);

 private:
  // The features that a layer read (leaves of its tape) and those that it made.
  struct Tape {
    Tensor q_in, mu_in, q_out, mu_out;
  };
  struct Inputs {
    Tensor species, neighbours, vectors;  // (rows,), (N, K), (N, K, 3)
  };
  Inputs inputs(const engine::Pairs &pairs, const Slots &slots);
  Tensor vectors_of(const Tensor &rows);
  template <class real> Tensor exchanged(Halo &halo, const Tensor &q, const Tensor &mu, int n_rows);
  template <class real> Tensor returned(Halo &halo, const Tensor &adjoint, int n);
};

template <class T> std::vector<T> numbers_of(const torch::Tensor &tensor, torch::ScalarType type) {
  const torch::Tensor values = tensor.to(torch::kCPU, type).contiguous();
  return {values.data_ptr<T>(), values.data_ptr<T>() + values.numel()};
}

}  // namespace tlmd
#endif
