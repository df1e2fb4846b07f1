// SPDX-License-Identifier: MIT
// Evaluation of the scripted network: the layers forward, each with its own tape, and the tapes back.
#include "torchscript_impl.h"

#include "halo.h"

namespace tlmd {

using torch::Tensor;
using torch::autograd::variable_list;

static std::pair<Tensor, Tensor> pair_of(const c10::IValue &value) {
  const auto &elements = value.toTupleRef().elements();
  return {elements[0].toTensor(), elements[1].toTensor()};
}

// mu (3, rows, F) of rows (rows, 4F)
Tensor TorchScript::Impl::vectors_of(const Tensor &rows) {
  return rows.narrow(1, width, 3 * width).reshape({rows.size(0), 3, width}).transpose(0, 1).contiguous();
}

// Rows of q and mu side by side, (M, 4F): the owned rows and, filled by the halo, the ghost rows.
template <class real> Tensor TorchScript::Impl::exchanged(Halo &halo, const Tensor &q, const Tensor &mu, int n_rows) {
  const int n = q.size(0);
  Tensor rows = torch::empty({n_rows, 4 * width}, q.options().device(torch::kCPU));
  rows.narrow(0, 0, n).narrow(1, 0, width).copy_(q);
  rows.narrow(0, 0, n).narrow(1, width, 3 * width).copy_(mu.transpose(0, 1).reshape({n, 3 * width}));
  real *data = rows.data_ptr<real>();
  halo.forward(Halo::Rows<real>{data, n, 4 * width, 1, 0});
  return rows.to(device);
}

// Adjoints (M, 4F) of a layer's input to those of the owned rows (N, 4F), ghosts added.
template <class real> Tensor TorchScript::Impl::returned(Halo &halo, const Tensor &adjoint, int n) {
  Tensor rows = adjoint.to(torch::kCPU).contiguous();
  real *data = rows.data_ptr<real>();
  halo.reverse(Halo::Rows<real>{data, n, 4 * width, 1, 0});
  return rows.narrow(0, 0, n).to(device);
}

Tensor TorchScript::Impl::read_out(const std::vector<Tensor> &features, const Tensor &species) {
  Tensor e;
  if (kernel) {
    const Tensor of_species = torch::tensor(ratio, torch::dtype(dtype)).to(device);
    e = net.get_method("kernel_readout")({c10::List<Tensor>(features), species, of_species.index_select(0, species)})
            .toTensor();
  } else {
    e = net.get_method("readout")({features.back()}).toTensor();
  }
  return potential.get_method("scaled")({e, species}).toTensor();
}

TorchScript::Impl::Inputs TorchScript::Impl::inputs(const engine::Pairs &pairs, const Slots &slots) {
  const int n = slots.n_centres, k = slots.n;
  const auto int32 = torch::dtype(torch::kInt), float64 = torch::dtype(torch::kDouble);
  auto blob = [&](const auto &values, at::IntArrayRef shape, const auto &type) {
    return torch::from_blob(const_cast<void *>(static_cast<const void *>(values.data())), shape, type);
  };
  return {blob(pairs.species, {pairs.n_rows}, int32).to(torch::kLong).to(device),
          blob(slots.neighbours, {n, k}, int32).clone().to(device),
          blob(slots.vectors, {n, k, 3}, float64).to(dtype).to(device).set_requires_grad(true)};
}

// Every row is a centre, but those at the rim have no pairs; the energies are of the owned ones alone. The network is
// in one piece: `after_layers` gives its features, (rows, F) each, of which the last are read out.
void TorchScript::Impl::evaluate_whole(const engine::Pairs &pairs, engine::Result &result) {
  const int n = pairs.n_owned;
  features.assign(1, torch::empty({0, width}, dtype));
  result = engine::Result();
  if (n == 0) return;
  const Slots slots(pairs, reach);
  const auto [species, neighbours, vectors] = inputs(pairs, slots);
  const Tensor h =
      net.get_method("after_layers")({species, vectors, neighbours}).toTensorVector().back().narrow(0, 0, n);
  features[0] = h.detach();
  const Tensor energies = read_out({h}, species.narrow(0, 0, n));
  const Tensor slopes = torch::autograd::grad({energies.sum()}, {vectors})[0];
  result.energies = numbers_of<double>(energies.detach(), torch::kDouble);
  result.slopes = slots.of_pairs(numbers_of<double>(slopes, torch::kDouble));
}

template <class real>
void TorchScript::Impl::evaluate_layers(const engine::Pairs &pairs, Halo &halo, engine::Result &result) {
  const Slots slots(pairs, reach);
  const int n = pairs.n_owned, m = pairs.n_rows;
  const auto [species, neighbours, vectors] = inputs(pairs, slots);
  const auto [unit_out, basis_out] = pair_of(net.get_method("edges")({vectors}));
  const Tensor unit = unit_out.detach().set_requires_grad(true), basis = basis_out.detach().set_requires_grad(true);
  Tensor q = net.get_method("embed")({species}).toTensor(), mu = torch::empty({3, 0, width}, q.options());

  std::vector<Tape> tapes;
  for (int l = 0; l < n_layers; l++) {
    if (l > 0) {
      const Tensor rows = exchanged<real>(halo, q, mu, m);
      q = rows.narrow(1, 0, width).contiguous().set_requires_grad(true);
      mu = vectors_of(rows).set_requires_grad(true);
    }
    Tape tape{q, mu, {}, {}};
    std::tie(tape.q_out, tape.mu_out) = pair_of(net.get_method("layer")({l, q, mu, unit, basis, neighbours}));
    q = tape.q_out.detach();
    mu = tape.mu_out.detach();
    tapes.push_back(std::move(tape));
  }

  features.clear();
  for (const Tape &tape : tapes) features.push_back(tape.q_out.detach().set_requires_grad(true));
  const Tensor energies = read_out(features, species.narrow(0, 0, n));
  const variable_list read = torch::autograd::grad({energies.sum()}, features, {}, c10::nullopt, false, true);

  Tensor q_adjoint = read.back(), mu_adjoint;
  Tensor unit_adjoint = torch::zeros_like(unit), basis_adjoint = torch::zeros_like(basis);
  for (int l = n_layers - 1; l >= 0; l--) {
    Tape &tape = tapes[l];
    variable_list made{tape.q_out}, seeds{q_adjoint}, of{unit, basis};
    if (l < n_layers - 1) {
      made.push_back(tape.mu_out);
      seeds.push_back(mu_adjoint);
    }
    if (l > 0) of.insert(of.end(), {tape.q_in, tape.mu_in});
    const auto adjoints = torch::autograd::grad(made, of, seeds);
    unit_adjoint += adjoints[0];
    basis_adjoint += adjoints[1];
    tape = Tape();  // frees the layer's tape
    if (l == 0) break;
    const Tensor rows = torch::cat(variable_list{adjoints[2], adjoints[3].transpose(0, 1).reshape({m, 3 * width})}, 1);
    const Tensor owned = returned<real>(halo, rows, n);
    q_adjoint = owned.narrow(1, 0, width).contiguous();
    if (read[l - 1].defined()) q_adjoint += read[l - 1];
    mu_adjoint = vectors_of(owned);
  }

  const Tensor slopes = torch::autograd::grad({unit_out, basis_out}, {vectors}, {unit_adjoint, basis_adjoint})[0];
  result.energies = numbers_of<double>(energies.detach(), torch::kDouble);
  result.slopes = slots.of_pairs(numbers_of<double>(slopes, torch::kDouble));
}

template void TorchScript::Impl::evaluate_layers<float>(const engine::Pairs &, Halo &, engine::Result &);
template void TorchScript::Impl::evaluate_layers<double>(const engine::Pairs &, Halo &, engine::Result &);

}  // namespace tlmd
