// SPDX-License-Identifier: MIT
// What an exported model hands out: its weights for the native engine, its test cluster, predicted deviations.
#include "torchscript_impl.h"

#include <map>

namespace tlmd {

using torch::Tensor;

void TorchScript::compose(const std::vector<double> &ratio) { impl->ratio = ratio; }

engine::Head TorchScript::Impl::head() {
  engine::Head head;
  if (!kernel) return head;
  const auto module = net.attr("head").toModule();
  const auto flat = module.get_method("flat")({torch::tensor(ratio, torch::dtype(dtype)).to(device)});
  const std::vector<c10::IValue> found = flat.toTupleRef().elements().vec();
  for (const int64_t layer : net.attr("layers").toIntVector()) head.layers.push_back((int) layer);
  head.function = engine::function_of(found[0].toStringRef());
  head.parameter = found[1].toDouble();
  head.points = numbers_of<double>(found[2].toTensor(), torch::kDouble);
  head.bias = numbers_of<double>(found[3].toTensor(), torch::kDouble);
  head.weights = numbers_of<double>(found[4].toTensor(), torch::kDouble);
  head.shift = numbers_of<double>(module.attr("shift").toTensor(), torch::kDouble);
  head.factor = numbers_of<double>(module.attr("factor").toTensor(), torch::kDouble);
  return head;
}

// Of an Edges of models/painn.py.
static engine::Basis basis_of(const torch::jit::Module &edges) {
  engine::Basis basis;
  basis.cutoff = edges.attr("cutoff").toDouble();
  basis.centres = numbers_of<double>(edges.attr("centres").toTensor(), torch::kDouble);
  basis.width = edges.attr("width").toDouble();
  basis.bessel = edges.attr("bessel").toBool();
  basis.polynomial = edges.attr("polynomial").toBool();
  return basis;
}

engine::Weights TorchScript::weights() const {
  const auto &net = impl->net;
  const engine::Basis basis = basis_of(net.attr("edge_basis").toModule());
  // of the first layer, if it has its own
  const bool two = net.hasattr("first_basis") && !net.attr("first_basis").isNone();
  // files of format 1 do not state it
  const double epsilon = net.hasattr("norm_epsilon") ? net.attr("norm_epsilon").toDouble() : 1e-4;
  std::map<std::string, Tensor> named;
  for (const auto &entry : impl->potential.named_parameters()) named[entry.name] = entry.value;
  for (const auto &entry : impl->potential.named_buffers()) named[entry.name] = entry.value;
  return engine::read_weights(
      (int) card.elements.size(), impl->width, impl->n_layers, epsilon, basis,
      two ? basis_of(net.attr("first_basis").toModule()) : basis, impl->head(), [&](const std::string &name) {
        const auto found = named.find(name);
        return found == named.end() ? std::vector<double>() : numbers_of<double>(found->second, torch::kDouble);
      });
}

engine::Pairs TorchScript::test_cluster() const {
  const auto read = [&](const char *name) { return impl->potential.attr(name).toTensor(); };
  const auto species = numbers_of<int>(read("test_species"), torch::kInt);
  const auto neighbours = numbers_of<int>(read("test_neighbours"), torch::kInt);
  const auto vectors = numbers_of<double>(read("test_vectors"), torch::kDouble);
  const int n = (int) species.size();
  return engine::whole_system(n, (int) neighbours.size() / n, species.data(), neighbours.data(), vectors.data(),
                              card.reach);
}

Tensor TorchScript::Impl::deviation(const Tensor &psi) {
  const Tensor of_species = torch::tensor(ratio, torch::dtype(dtype)).to(device).expand({psi.size(0), psi.size(1)});
  return net.attr("head").toModule().get_method("deviation")({psi, of_species}).toTensor();
}

std::vector<double> TorchScript::features(int layer) const {
  return numbers_of<double>(impl->features[layer].detach(), torch::kDouble);
}

std::vector<double> TorchScript::deviations(const engine::Pairs &pairs, const Evaluator &evaluator,
                                            std::vector<double> &sums) const {
  const int n = pairs.n_owned;
  const torch::NoGradGuard guard;
  std::vector<Tensor> features(hops ? 1 : impl->n_layers, torch::empty({n, 0}));
  for (const int64_t layer : impl->net.attr("layers").toIntVector())
    features[layer] = torch::tensor(evaluator.features((int) layer), torch::kDouble)
                          .view({n, impl->width})
                          .to(impl->device, impl->dtype);
  const Tensor species =
      torch::from_blob(const_cast<int *>(pairs.species.data()), {n}, torch::kInt).to(impl->device, torch::kLong);
  const Tensor psi = impl->net.get_method("sums")({c10::List<Tensor>(features), species}).toTensor();
  sums = numbers_of<double>(psi.sum(0), torch::kDouble);
  return numbers_of<double>(impl->deviation(psi), torch::kDouble);
}

double TorchScript::deviation_of(const std::vector<double> &sums) const {
  const torch::NoGradGuard guard;
  const Tensor psi =
      torch::tensor(sums, torch::kDouble).to(impl->device, impl->dtype).view({1, (int64_t) card.elements.size(), -1});
  return impl->deviation(psi).item<double>();
}

}  // namespace tlmd
