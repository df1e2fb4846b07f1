// SPDX-License-Identifier: MIT
#include "torchscript.h"

#include "halo.h"
#include "slots.h"

#include <nlohmann/json.hpp>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/cuda.h>
#include <torch/script.h>

#include <algorithm>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace tlmd {

using torch::Tensor;
using torch::autograd::variable_list;
using Json = nlohmann_lmp::json;

static constexpr int FORMAT_VERSION = 2;

[[noreturn]] static void fail(const std::string &got, const std::string &wanted, const std::string &action) {
  throw std::runtime_error("got " + got + "; wanted " + wanted + "; " + action);
}

struct Model::Impl {
  torch::jit::Module potential, net;
  torch::Device device = torch::kCPU;
  torch::ScalarType dtype = torch::kFloat;
  int n_layers = 0, width = 0;
  double cutoff = 0;
  bool kernel = false;
  std::vector<double> ratio;  // N / n_z of each species, for a kernel head
  variable_list features;     // of the last evaluation, after each layer

  // The features that a layer read (leaves of its tape) and those that it made.
  struct Tape {
    Tensor q_in, mu_in, q_out, mu_out;
  };

  std::pair<Tensor, Tensor> pair_of(const c10::IValue &value) {
    const auto &elements = value.toTupleRef().elements();
    return {elements[0].toTensor(), elements[1].toTensor()};
  }

  // mu (3, rows, F) of rows (rows, 4F)
  Tensor vectors_of(const Tensor &rows) {
    return rows.narrow(1, width, 3 * width).reshape({rows.size(0), 3, width}).transpose(0, 1).contiguous();
  }

  // Rows of q and mu side by side, (M, 4F): the owned rows and, filled by the halo, the ghost rows.
  template <class real> Tensor exchanged(Halo &halo, const Tensor &q, const Tensor &mu, int n_rows) {
    const int n = q.size(0);
    Tensor rows = torch::empty({n_rows, 4 * width}, q.options().device(torch::kCPU));
    rows.narrow(0, 0, n).narrow(1, 0, width).copy_(q);
    rows.narrow(0, 0, n).narrow(1, width, 3 * width).copy_(mu.transpose(0, 1).reshape({n, 3 * width}));
    real *data = rows.data_ptr<real>();
    halo.forward(Halo::Rows<real>{data, n, 4 * width, 1, 0});
    return rows.to(device);
  }

  // Adjoints (M, 4F) of a layer's input to those of the owned rows (N, 4F), ghosts added.
  template <class real> Tensor returned(Halo &halo, const Tensor &adjoint, int n) {
    Tensor rows = adjoint.to(torch::kCPU).contiguous();
    real *data = rows.data_ptr<real>();
    halo.reverse(Halo::Rows<real>{data, n, 4 * width, 1, 0});
    return rows.narrow(0, 0, n).to(device);
  }

  // Atom energies (N,) eV, from the scalar features after each layer (N, F).
  Tensor read_out(const std::vector<Tensor> &features, const Tensor &species) {
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

  // Of energies with the sums psi (B, S, D).
  Tensor deviation(const Tensor &psi) {
    const Tensor of_species = torch::tensor(ratio, torch::dtype(dtype)).to(device).expand({psi.size(0), psi.size(1)});
    return net.attr("head").toModule().get_method("deviation")({psi, of_species}).toTensor();
  }

  struct Inputs {
    Tensor species, neighbours, vectors;  // (rows,), (N, K), (N, K, 3)
  };
  Inputs inputs(const engine::Pairs &pairs, const Slots &slots);

  engine::Head head();
  void evaluate_whole(const engine::Pairs &pairs, engine::Result &result);
  template <class real> void evaluate(const engine::Pairs &pairs, Halo &halo, engine::Result &result);
};

static void check_card(const std::string &name, const Json &card, const std::string &wanted) {
  const int version = card.value("format_version", 0);
  const std::string kind = card.value("kind", "unknown");
  if (version > FORMAT_VERSION)
    fail(name + " of format " + std::to_string(version), "format " + std::to_string(FORMAT_VERSION) + " or older",
         "install a newer tlmd plugin");
  if (kind != wanted) fail(name + " of kind " + kind, "kind " + wanted, "use pair_style " + kind);
}

// Whether the network is evaluated in one piece: it is none that the engine knows, or a kernel's feature module.
static bool in_one_piece(const Json &card) {
  const Json architecture = card.value("architecture", Json()), kernel = card.value("kernel", Json());
  if (kernel.is_object() && kernel.value("backbone", "painn") == "module") return true;
  return architecture.is_object() && architecture.value("network", "painn") != "painn";
}

static torch::Device choose_device(const std::string &device, int rank) {
  const bool cuda = torch::cuda::is_available();
  if (device == "cuda" && !cuda) fail("device cuda", "a CUDA build of torch and a GPU", "use device cpu or auto");
  if (device == "cpu" || !cuda) return torch::kCPU;
  return torch::Device(torch::kCUDA, rank % torch::cuda::device_count());
}

// torch asks for and frees the same large blocks at every step; glibc by default returns each of them to the kernel,
// which makes a step up to three times slower. Keep them.
static void keep_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 1 << 28);
#endif
}

Model::Model(const std::string &file, const std::string &name, const std::string &kind, const std::string &device,
             int rank)
    : impl(std::make_unique<Impl>()) {
  keep_memory();
  torch::jit::ExtraFilesMap extra{{"card.json", ""}};
  std::istringstream stream(file);
  try {
    impl->device = choose_device(device, rank);
    impl->potential = torch::jit::load(stream, impl->device, extra);
  } catch (const c10::Error &error) {
    fail(name + ", not an exported model or cut short", "a file written by tl-export", "run `tl-export model.pt`");
  }
  if (extra["card.json"].empty())
    fail(name + " without a card", "a file written by tl-export", "run `tl-export model.pt`");
  const Json card = Json::parse(extra["card.json"]);
  check_card(name, card, kind);

  torch::jit::setGraphExecutorOptimize(false);  // the optimiser slows the first steps and gains nothing here
  impl->potential.eval();
  for (auto parameter : impl->potential.parameters()) parameter.set_requires_grad(false);
  impl->net = impl->potential.attr("net").toModule();
  impl->n_layers = impl->net.attr("n_layers").toInt();
  impl->width = impl->net.attr("width").toInt();
  impl->kernel = kind == "mekrr";
  deviates = impl->kernel && impl->net.attr("head").toModule().attr("spread").toTensor().numel() > 0;
  by_composition = impl->kernel && impl->net.attr("mean").toBool();
  float64 = card["dtype"] == "float64";
  on_gpu = impl->device.is_cuda();
  impl->dtype = float64 ? torch::kDouble : torch::kFloat;
  elements = card["elements"].get<std::vector<std::string>>();
  impl->cutoff = cutoff = card["cutoff"].get<double>();
  hops = in_one_piece(card) ? impl->n_layers : 0;
  impl->ratio.assign(elements.size(), 1.0);

  std::ostringstream line;
  line << name << (hops ? ": TorchScript F=" : ": PaiNN F=") << impl->width << " L=" << impl->n_layers;
  if (impl->kernel)
    line << ", " << card["kernel"]["n_features"] << " features of a " << card["kernel"]["kind"].get<std::string>()
         << " kernel, alpha " << card["kernel"]["alpha"];
  line << ", cutoff " << cutoff << " A, " << card["dtype"].get<std::string>() << " on " << impl->device << ", "
       << card.value("level_of_theory", "unknown");
  summary = line.str();
}

Model::~Model() = default;

std::string Model::torch_version() {
  const std::string config = at::show_config(), key = "TORCH_VERSION=";
  const size_t first = config.find(key);
  if (first == std::string::npos) return "unknown";
  return config.substr(first + key.size(), config.find_first_of(", \n", first) - first - key.size());
}

void Model::self_test() {
  auto &potential = impl->potential;
  const Tensor vectors = potential.attr("test_vectors").toTensor().to(impl->dtype).set_requires_grad(true);
  const Tensor expected = potential.attr("test_slopes").toTensor().to(torch::kDouble);
  const Tensor energies =
      potential.forward({potential.attr("test_species"), vectors, potential.attr("test_neighbours")}).toTensor();
  const Tensor slopes = torch::autograd::grad({energies.sum()}, {vectors})[0].to(torch::kDouble);
  const double off = ((slopes - expected).abs().max() / expected.abs().max()).item<double>();
  if (off < tolerance()) return;
  std::ostringstream got, wanted;
  got << "forces of the model's own test cluster off by " << off;
  wanted << "less than " << tolerance();
  fail(got.str(), wanted.str(), "check that this libtorch is the one of the export");
}

template <class T> static std::vector<T> numbers_of(const Tensor &tensor, torch::ScalarType type) {
  const Tensor values = tensor.to(torch::kCPU, type).contiguous();
  return {values.data_ptr<T>(), values.data_ptr<T>() + values.numel()};
}

void Model::compose(const std::vector<double> &ratio) { impl->ratio = ratio; }

engine::Head Model::Impl::head() {
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

engine::Weights Model::weights() const {
  const auto edges = impl->net.attr("edge_basis").toModule();
  engine::Basis basis;
  basis.cutoff = cutoff;
  basis.centres = numbers_of<double>(edges.attr("centres").toTensor(), torch::kDouble);
  basis.width = edges.attr("width").toDouble();
  basis.bessel = edges.attr("bessel").toBool();
  basis.polynomial = edges.attr("polynomial").toBool();
  // files of format 1 do not state it
  const double epsilon = impl->net.hasattr("norm_epsilon") ? impl->net.attr("norm_epsilon").toDouble() : 1e-4;
  std::map<std::string, Tensor> named;
  for (const auto &entry : impl->potential.named_parameters()) named[entry.name] = entry.value;
  for (const auto &entry : impl->potential.named_buffers()) named[entry.name] = entry.value;
  return engine::read_weights(
      (int) elements.size(), impl->width, impl->n_layers, epsilon, basis, impl->head(), [&](const std::string &name) {
        const auto found = named.find(name);
        return found == named.end() ? std::vector<double>() : numbers_of<double>(found->second, torch::kDouble);
      });
}

engine::Pairs Model::test_cluster() const {
  const auto read = [&](const char *name) { return impl->potential.attr(name).toTensor(); };
  const auto species = numbers_of<int>(read("test_species"), torch::kInt);
  const auto neighbours = numbers_of<int>(read("test_neighbours"), torch::kInt);
  const auto vectors = numbers_of<double>(read("test_vectors"), torch::kDouble);
  const int n = (int) species.size();
  return engine::whole_system(n, (int) neighbours.size() / n, species.data(), neighbours.data(), vectors.data(),
                              cutoff);
}

Model::Impl::Inputs Model::Impl::inputs(const engine::Pairs &pairs, const Slots &slots) {
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
void Model::Impl::evaluate_whole(const engine::Pairs &pairs, engine::Result &result) {
  const int n = pairs.n_owned;
  features.assign(1, torch::empty({0, width}, dtype));
  result = engine::Result();
  if (n == 0) return;
  const Slots slots(pairs, cutoff);
  const auto [species, neighbours, vectors] = inputs(pairs, slots);
  const Tensor h =
      net.get_method("after_layers")({species, vectors, neighbours}).toTensorVector().back().narrow(0, 0, n);
  features[0] = h.detach();
  const Tensor energies = read_out({h}, species.narrow(0, 0, n));
  const Tensor slopes = torch::autograd::grad({energies.sum()}, {vectors})[0];
  result.energies = numbers_of<double>(energies.detach(), torch::kDouble);
  result.slopes = slots.of_pairs(numbers_of<double>(slopes, torch::kDouble));
}

template <class real> void Model::Impl::evaluate(const engine::Pairs &pairs, Halo &halo, engine::Result &result) {
  const Slots slots(pairs, cutoff);
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

std::vector<double> Model::features(int layer) const {
  return numbers_of<double>(impl->features[layer].detach(), torch::kDouble);
}

std::vector<double> Model::deviations(const engine::Pairs &pairs, const Evaluator &evaluator,
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

double Model::deviation_of(const std::vector<double> &sums) const {
  const torch::NoGradGuard guard;
  const Tensor psi =
      torch::tensor(sums, torch::kDouble).to(impl->device, impl->dtype).view({1, (int64_t) elements.size(), -1});
  return impl->deviation(psi).item<double>();
}

void Model::evaluate(const engine::Pairs &pairs, Halo &halo, engine::Result &result, int n_threads) {
  at::set_num_threads(n_threads);
  if (hops)
    impl->evaluate_whole(pairs, result);
  else if (float64)
    impl->evaluate<double>(pairs, halo, result);
  else
    impl->evaluate<float>(pairs, halo, result);
}

}  // namespace tlmd
