// SPDX-License-Identifier: MIT
#include "torchscript.h"

#include "archive.h"
#include "memory.h"
#include "refusal.h"
#include "torchscript_impl.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/cuda.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <thread>

namespace tlmd {

using torch::Tensor;

static torch::Device choose_device(const std::string &device, int rank) {
  const bool cuda = torch::cuda::is_available();
  if (device == "cuda" && !cuda) refuse("device cuda", "a CUDA build of torch and a GPU", "use device cpu or auto");
  if (device == "cpu" || !cuda) return torch::kCPU;
  return torch::Device(torch::kCUDA, rank % torch::cuda::device_count());
}

static std::vector<Entry> directory_of(const std::string &file, const std::string &name) {
  try {
    return entries_of(file);
  } catch (const std::exception &error) {
    refuse(name + ", not an exported model, cut short or damaged (" + error.what() + ")", "a file written by tl-export",
           "run `tl-export model.pt`");
  }
}

// Compares the checksum of every content with the one that the archive keeps, which libtorch does not; the card.
static std::string checked_card(const std::string &file, const std::string &name) {
  const auto entries = directory_of(file, name);
  std::istringstream stream(file);
  std::string card, at;
  try {
    caffe2::serialize::PyTorchStreamReader reader(&stream);
    for (const Entry &entry : entries) {
      at = entry.name.substr(entry.name.find('/') + 1);  // without the archive's name
      const auto [data, size] = reader.getRecord(at);
      if (size != entry.size || crc32(data.get(), size) != entry.crc) throw std::runtime_error("checksum");
      if (at == "extra/card.json") card.assign(static_cast<const char *>(data.get()), size);
    }
  } catch (const std::exception &error) {
    refuse(name + ", damaged: " + at + " does not fit its checksum", "the file that tl-export wrote",
           "copy it again, or run `tl-export model.pt`");
  }
  return card;
}

static torch::jit::Module load_script(const std::string &file, const std::string &name, const torch::Device &device) {
  std::istringstream stream(file);
  try {
    return torch::jit::load(stream, device);
  } catch (const std::exception &error) {
    refuse(name + ", not an exported model", "a file written by tl-export", "run `tl-export model.pt`");
  }
}

TorchScript::TorchScript(const std::string &file, const std::string &name, const std::string &kind,
                         const std::string &device, int rank)
    : impl(std::make_unique<Impl>()) {
  keep_memory();
  card = read_card(checked_card(file, name), name, kind);
  impl->device = choose_device(device, rank);
  impl->potential = load_script(file, name, impl->device);

  torch::jit::setGraphExecutorOptimize(false);  // the optimiser slows the first steps and gains nothing here
  impl->potential.eval();
  for (auto parameter : impl->potential.parameters()) parameter.set_requires_grad(false);
  impl->net = impl->potential.attr("net").toModule();
  impl->n_layers = impl->net.attr("n_layers").toInt();
  impl->width = impl->net.attr("width").toInt();
  impl->kernel = kind == "mekrr";
  deviates = impl->kernel && impl->net.attr("head").toModule().attr("spread").toTensor().numel() > 0;
  by_composition = impl->kernel && impl->net.attr("mean").toBool();
  on_gpu = impl->device.is_cuda();
  impl->dtype = card.float64 ? torch::kDouble : torch::kFloat;
  impl->reach = card.reach;
  hops = card.whole ? impl->n_layers : 0;
  impl->ratio.assign(card.elements.size(), 1.0);
  check_parameters(name);
  if (impl->potential.hasattr("repulsion")) {  // none in older files
    const auto repulsion = impl->potential.attr("repulsion").toModule();
    impl->repulsion = {repulsion.attr("strength").toTensor().item<double>(),
                       numbers_of<double>(repulsion.attr("radius").toTensor(), torch::kDouble)};
  }

  std::ostringstream line;
  line << name << (hops ? ": TorchScript F=" : ": PaiNN F=") << impl->width << " L=" << impl->n_layers
       << (card.kernel.empty() ? "" : ", ") << card.kernel << ", cutoff " << card.cutoff << " A, ";
  if (card.reach > card.cutoff) line << "of the first layer " << card.reach << " A, ";
  line << card.dtype() << " on " << impl->device << ", " << card.theory;
  summary = line.str();
}

TorchScript::~TorchScript() = default;

static std::string joined(const std::vector<std::string> &words) {
  std::string all;
  for (const auto &word : words) all += (all.empty() ? "" : " ") + word;
  return all;
}

// The card can be edited by hand; the parameters belong to one list of elements, one cutoff and one precision.
void TorchScript::check_parameters(const std::string &name) const {
  const auto compare = [&](const char *what, const auto &in_card, const auto &found) {
    if (in_card == found) return;
    std::ostringstream got, wanted;
    got << name << " with " << what << " " << in_card << " in its card";
    wanted << found << ", which its parameters are for";
    refuse(got.str(), wanted.str(), "run `tl-export model.pt`");
  };
  const auto &potential = impl->potential;
  if (potential.hasattr("elements")) {
    std::vector<std::string> found;
    for (const auto &element : potential.attr("elements").toList()) found.push_back(c10::IValue(element).toStringRef());
    compare("elements", joined(card.elements), joined(found));
  }
  compare("a number of elements of", card.elements.size(), (size_t) potential.attr("reference").toTensor().size(0));
  if (potential.hasattr("cutoff"))
    compare(card.reach > card.cutoff ? "first_cutoff" : "cutoff", card.reach, potential.attr("cutoff").toDouble());
  if (hops) return;
  compare("cutoff", card.cutoff, impl->net.attr("edge_basis").toModule().attr("cutoff").toDouble());
  const Tensor embedding = impl->net.attr("embedding").toModule().attr("weight").toTensor();
  compare("a number of elements of", card.elements.size(), (size_t) embedding.size(0));
  const std::string dtype = embedding.scalar_type() == torch::kDouble ? "float64" : "float32";
  compare("dtype", card.dtype(), dtype);
}

std::string TorchScript::torch_version() {
  const std::string config = at::show_config(), key = "TORCH_VERSION=";
  const size_t first = config.find(key);
  if (first == std::string::npos) return "unknown";
  return config.substr(first + key.size(), config.find_first_of(", \n", first) - first - key.size());
}

// Largest deviation of `found` from `expected`, in units of the largest number of `scale`.
static double relative(const Tensor &found, const Tensor &expected, const Tensor &scale) {
  const double off = (found.to(torch::kDouble) - expected.to(torch::kDouble)).abs().max().item<double>();
  return off == 0 ? 0.0 : off / scale.abs().max().item<double>();
}

void TorchScript::self_test() {
  at::set_num_threads(1);  // the same sums in the same order, whatever OMP_NUM_THREADS says
  const auto read = [&](const char *name) { return impl->potential.attr(name).toTensor(); };
  const auto check = [&](const char *what, double off) {
    if (off < tolerance()) return;
    std::ostringstream got, wanted;
    got << what << " of the model's own test cluster off by " << off;
    wanted << "less than " << tolerance();
    refuse(got.str(), wanted.str(), "check that this libtorch is the one of the export");
  };
  const Tensor species = read("test_species"), slopes = read("test_slopes");
  const Tensor vectors = read("test_vectors").to(impl->dtype).set_requires_grad(true);
  const Tensor energies = impl->potential.forward({species, vectors, read("test_neighbours")}).toTensor();
  const Tensor found = torch::autograd::grad({energies.sum()}, {vectors})[0];
  check("forces", relative(found, slopes, slopes));
  if (!impl->potential.hasattr("test_energies")) return;  // files of an older tlmd
  const Tensor expected = read("test_energies");
  const Tensor beyond = expected - read("reference").index_select(0, species);
  check("energies", relative(energies.detach(), expected, beyond));
}

// More threads than the machine has would only wait for each other.
static int sensible(int n_threads) {
  return std::clamp(n_threads, 1, std::max((int) std::thread::hardware_concurrency(), 1));
}

void TorchScript::evaluate(const engine::Pairs &pairs, Halo &halo, engine::Result &result, int n_threads) {
  at::set_num_threads(sensible(n_threads));
  if (hops)
    impl->evaluate_whole(pairs, result);
  else if (card.float64)
    impl->evaluate_layers<double>(pairs, halo, result);
  else
    impl->evaluate_layers<float>(pairs, halo, result);
  impl->repulsion.add(pairs, result);
}

}  // namespace tlmd
