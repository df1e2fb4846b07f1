#include "training.h"

#include "tables.h"
#include "threads.h"

#include <algorithm>
#include <cmath>

namespace tlmd::engine {

// Two arrays of the same size in one piece of memory.
template <class real> class TwinBuffer {
 public:
  Twin<real> reserve(size_t n) {
    n = (n + 15) / 16 * 16;
    real *p = memory.reserve(2 * n);
    half = n;
    return {p, p + n};
  }
  Twin<real> data() const { return {memory.data(), memory.data() + half}; }
  void clear() { std::fill_n(memory.data(), 2 * half, real(0)); }
  size_t bytes() const { return memory.bytes(); }

 private:
  Buffer<real> memory;
  size_t half = 0;
};

// Places for the gradients of one layer's dense weights, one after the other from `start`; returns their size.
template <class real>
static size_t place_gradients(const LayerWeights<real> &w, int f, bool last, real *start, TrainGradients<real> &g) {
  size_t size = 0;
  auto take = [&](size_t n) {
    real *here = start ? start + size : nullptr;
    size += padded((int) n, 16);
    return here;
  };
  g.mix = take((size_t) f * 2 * f);
  g.update0 = take((size_t) 2 * f * f);
  g.update0_bias = take(f);
  g.update2 = take((size_t) f * w.update2.n);
  g.update2_bias = take(w.update2.n);
  g.context0 = take((size_t) f * w.context0.n);
  g.context0_bias = take(w.context0.n);
  if (last) {
    g.energy = take(w.context0.n);
    g.energy_bias = take(1);
  } else {
    g.context2 = take((size_t) f * w.context2.n);
    g.context2_bias = take(w.context2.n);
  }
  return size;
}

template <class real> struct Training<real>::Impl {
  Weights weights;
  Options options;
  Kernels<real> kernels;
  Packed<real> packed;
  int width, lanes, n_blocks, n_layers;
  Tables<real> tables;
  Dense basis{0, 0};

  const Pairs *pairs = nullptr;
  PairList<real> list;
  Buffer<int> bins;
  Buffer<PairGeometry<real>> geometry;
  Buffer<real> changes, scratch, arena;
  TwinBuffer<real> state, adjoints;
  std::vector<TwinBuffer<real>> inputs, kept;
  std::vector<Buffer<real>> table_gradients;
  std::vector<TrainStore<real>> stores;
  std::vector<double> seeds, energies, energies_t;
  size_t input_block = 0, state_block = 0, layer_arena = 0;

  Impl(const Weights &w, const Options &o)
      : weights(w), options(o), kernels(kernels_of<real>(choose_isa(o.isa))), packed(w, kernels.lanes, false),
        width(packed.width), lanes(kernels.lanes), n_blocks(width / lanes), n_layers(w.n_layers), inputs(n_layers),
        kept(n_layers), table_gradients(n_layers), stores(n_layers) {
    if (options.n_bins > 0) {
      basis = spline_basis(w.basis, options.n_bins);
      tables.build(basis, packed, lanes, 0);
    }
    TrainGradients<real> none;
    for (int l = 0; l < n_layers; l++)
      layer_arena =
          std::max(layer_arena, place_gradients<real>(packed.layers[l], width, l == n_layers - 1, nullptr, none));
  }

  void set_weights(const Weights &w) {
    weights = w;
    packed = Packed<real>(w, kernels.lanes, false);
    if (options.n_bins > 0) tables.build(basis, packed, lanes, 0);
  }

  void reserve() {
    const size_t n = pairs->n_owned, n_pairs = pairs->neighbour.size(), f = width, rows = n + SLACK;
    bins.reserve(n_pairs);
    geometry.reserve(n_pairs);
    changes.reserve(4 * n_pairs);
    scratch.reserve(train_scratch_size(width) * options.n_threads);
    arena.reserve(layer_arena * n_layers * options.n_threads);
    state_block = n * 4 * lanes;
    input_block = n * 5 * lanes;
    state.reserve(n_blocks * state_block);
    adjoints.reserve(n_blocks * input_block);
    energies.resize(n);
    energies_t.resize(n);
    for (int l = 0; l < n_layers; l++) {
      const size_t widths[9] = {f, 3 * f, 6 * f, f, 3 * f, f, 3 * f, f, 3 * f};
      TrainStore<real> &s = stores[l];
      Twin<real> *parts[9] = {&s.q, &s.mu, &s.vu, &s.hidden, &s.mixed, &s.q_out, &s.mu_out, &s.context, &s.phi};
      Twin<real> p = kept[l].reserve(rows * 22 * f);
      for (int k = 0; k < 9; k++) {
        *parts[k] = p;
        p = {p.v + rows * widths[k], p.t + rows * widths[k]};
      }
      inputs[l].reserve(n_blocks * input_block);
    }
  }

  void pair_changes(const double *given) {
    const int n_pairs = (int) pairs->neighbour.size();
    kernels.pair_geometry(pairs->vectors.data(), n_pairs, std::max(options.n_bins, 1), weights.basis.cutoff,
                          bins.data(), geometry.data());
    if (options.n_bins <= 0) {
      basis = exact_basis(weights.basis, *pairs, bins.data(), geometry.data());
      tables.build(basis, packed, lanes, 0);
    }
    for (int p = 0; p < n_pairs; p++) {
      const double *r = &pairs->vectors[3 * (size_t) p], *t = given + 3 * (size_t) p;
      const double d = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
      const double along = (r[0] * t[0] + r[1] * t[1] + r[2] * t[2]) / d;
      real *change = changes.data() + 4 * (size_t) p;
      change[0] = (real) along;
      for (int k = 0; k < 3; k++) change[1 + k] = (real) ((t[k] - r[k] / d * along) / d);
    }
    list = {pairs->n_owned, pairs->first.data(),   pairs->directed.data(), pairs->neighbour.data(),
            bins.data(),    pairs->species.data(), geometry.data()};
  }

  void message(int l, bool reverse) {
    in_shares(n_blocks, options.n_threads, [&](int first, int end, int) {
      for (int b = first; b < end; b++) {
        auto of = [&](Twin<real> x, size_t stride) { return Twin<real>{x.v + b * stride, x.t + b * stride}; };
        TrainMessage<real> m;
        m.table = tables.block(l, b);
        m.changes = changes.data();
        m.inputs = of(inputs[l].data(), input_block);
        m.sums = of(state.data(), state_block);
        m.adjoints = of(adjoints.data(), input_block);
        m.table_gradient = table_gradients[l].data() + b * tables.block_size();
        if (reverse) {
          std::fill_n(m.adjoints.v, input_block, real(0));
          std::fill_n(m.adjoints.t, input_block, real(0));
          std::fill_n(m.table_gradient, tables.block_size(), real(0));
        }
        (reverse ? kernels.train_message_backward : kernels.train_message_forward)(list, m);
      }
    });
  }

  TrainGradients<real> gradients_of(int l, int thread) {
    real *p = arena.data() + ((size_t) thread * n_layers + l) * layer_arena;
    TrainGradients<real> g;
    place_gradients(packed.layers[l], width, l == n_layers - 1, p, g);
    return g;
  }

  void update(int l, bool reverse) {
    const int n = pairs->n_owned, n_tiles = (n + TILE - 1) / TILE;
    TrainUpdate<real> u;
    u.width = width, u.n_atoms = n, u.last = l == n_layers - 1;
    u.weights = &packed.layers[l];
    u.store = stores[l];
    u.state = state.data();
    if (!u.last) u.inputs = inputs[l + 1].data();
    u.adjoints = adjoints.data();
    u.species = pairs->species.data();
    u.scale = packed.scale.data();
    u.seeds = seeds.data();
    u.energies = energies.data();
    u.energies_t = energies_t.data();
    in_shares(n_tiles, options.n_threads, [&](int first, int end, int thread) {
      TrainUpdate<real> mine = u;
      mine.gradients = gradients_of(l, thread);
      mine.scratch = scratch.data() + thread * train_scratch_size(width);
      for (int k = first; k < end; k++)
        (reverse ? kernels.train_backward : kernels.train_forward)(mine, k * TILE, std::min(TILE, n - k * TILE));
    });
  }

  void run() {
    std::fill_n(arena.data(), layer_arena * n_layers * options.n_threads, real(0));
    for (auto &gradient : table_gradients) gradient.reserve(n_blocks * tables.block_size());
    state.clear();
    inputs[0].clear();
    packed.start(*pairs, state.data().v, inputs[0].data().v);  // tangents are zero
    for (int l = 0; l < n_layers; l++) {
      message(l, false);
      update(l, false);
    }
    for (int l = n_layers - 1; l >= 0; l--) {
      update(l, true);
      message(l, true);
    }
  }

  // Sum over threads of a gradient (k padded, n padded)
  std::vector<double> total(int l, real *TrainGradients<real>::*which, size_t n) {
    std::vector<double> sum(n, 0.0);
    for (int t = 0; t < options.n_threads; t++) {
      const real *part = gradients_of(l, t).*which;
      for (size_t k = 0; k < n; k++) sum[k] += part[k];
    }
    return sum;
  }

  using Put = std::function<void(const std::string &, const std::vector<double> &)>;

  // A dense layer's gradients in PyTorch's layout: the inverse of Packed's padding.
  void put_linear(const Put &put, const std::string &name, const Linear &linear, int in_parts,
                  const std::vector<int> &out_parts, int n_out_parts, const std::vector<double> &gradient, int n,
                  const std::vector<double> *bias) {
    const int in = linear.n_in / in_parts, out = linear.n_out / n_out_parts, in_pad = padded(in), out_pad = padded(out);
    std::vector<double> weight((size_t) linear.n_out * linear.n_in, 0.0), sums(linear.n_out, 0.0);
    for (size_t p = 0; p < out_parts.size(); p++)
      for (int o = 0; o < out; o++) {
        const int row = out_parts[p] * out + o, column = (int) p * out_pad + o;
        for (int q = 0; q < in_parts; q++)
          for (int i = 0; i < in; i++)
            weight[(size_t) row * linear.n_in + q * in + i] = gradient[(size_t) (q * in_pad + i) * n + column];
        if (bias) sums[row] = (*bias)[column];
      }
    put(name + ".weight", weight);
    if (bias) put(name + ".bias", sums);
  }

  void put_update(const Put &put, int l) {
    using G = TrainGradients<real>;
    const bool last = l == n_layers - 1;
    const LayerWeights<real> &p = packed.layers[l];
    const Weights::Layer &w = weights.layers[l];
    const std::string update = "net.updates." + std::to_string(l);
    const size_t f = width;
    auto dense = [&](const std::string &name, const Linear &linear, int in_parts, const std::vector<int> &out_parts,
                     int n_out_parts, int n, real *G::*weight, real *G::*bias) {
      const auto sum = total(l, weight, in_parts * f * n);
      std::vector<double> bias_sum;
      if (bias) bias_sum = total(l, bias, n);
      put_linear(put, name, linear, in_parts, out_parts, n_out_parts, sum, n, bias ? &bias_sum : nullptr);
    };
    dense(update + ".mix", w.mix, 1, {0, 1}, 2, p.mix.n, &G::mix, nullptr);
    dense(update + ".context.0", w.update0, 2, {0}, 1, p.update0.n, &G::update0, &G::update0_bias);
    dense(update + ".context.2", w.update2, 1, last ? std::vector<int>{0, 2} : std::vector<int>{0, 1, 2}, 3,
          p.update2.n, &G::update2, &G::update2_bias);
    if (last) {
      dense("net.energy.0", weights.energy0, 1, {0}, 1, p.context0.n, &G::context0, &G::context0_bias);
      auto energy = total(l, &G::energy, p.context0.n);
      energy.resize(weights.energy2.n_in);
      put("net.energy.2.weight", energy);
      put("net.energy.2.bias", total(l, &G::energy_bias, 1));
      return;
    }
    const std::string message = "net.messages." + std::to_string(l + 1);
    dense(message + ".context.0", weights.layers[l + 1].context0, 1, {0}, 1, p.context0.n, &G::context0,
          &G::context0_bias);
    dense(message + ".context.2", weights.layers[l + 1].context2, 1, {0, 1, 2}, 3, p.context2.n, &G::context2,
          &G::context2_bias);
  }

  void put_filter(const Put &put, int l) {
    const int f = weights.width, n_radial = weights.basis.n_radial();
    std::vector<double> weight((size_t) 3 * f * n_radial, 0.0), bias(3 * f, 0.0), column(n_radial + 1);
    for (int part = 0; part < 3; part++)
      for (int c = 0; c < f; c++) {
        const real *gradient = table_gradients[l].data() + c / lanes * tables.block_size() + part * lanes + c % lanes;
        std::fill(column.begin(), column.end(), 0.0);
        for (int r = 0; r < tables.rows; r++)
          for (int k = 0; k <= n_radial; k++) column[k] += basis.at(r, k) * gradient[(size_t) r * 3 * lanes];
        std::copy_n(column.begin(), n_radial, &weight[(size_t) (part * f + c) * n_radial]);
        bias[part * f + c] = column[n_radial];
      }
    const std::string name = "net.messages." + std::to_string(l) + ".filter";
    put(name + ".weight", weight);
    put(name + ".bias", bias);
  }

  // Layer 1's context network and the embedding, from what each species sends and is.
  void put_species(const Put &put) {
    const int f = weights.width;
    const Linear &first = weights.layers[0].context0, &second = weights.layers[0].context2;
    std::vector<double> w0(first.weight.size(), 0.0), b0(f, 0.0), w2(second.weight.size(), 0.0), b2(3 * f, 0.0);
    std::vector<double> embedding(weights.embedding.size(), 0.0), sent((size_t) weights.n_species * 2 * f, 0.0);
    for (int c = 0; c < f; c++)
      for (int i = 0; i < pairs->n_owned; i++) {
        const size_t z = pairs->species[i], block = c / lanes, lane = c % lanes;
        embedding[z * f + c] += state.data().t[block * state_block + (size_t) i * 4 * lanes + lane];
        for (int part = 0; part < 2; part++)
          sent[(z * 2 + part) * f + c] +=
              adjoints.data().t[block * input_block + ((size_t) i * 5 + part) * lanes + lane];
      }
    for (int z = 0; z < weights.n_species; z++) {
      const double *q = &weights.embedding[(size_t) z * f], *phi = &sent[(size_t) z * 2 * f];
      for (int h = 0; h < f; h++) {
        double c = first.bias[h], adjoint = 0;
        for (int i = 0; i < f; i++) c += first.weight[(size_t) h * f + i] * q[i];
        const double s = 1 / (1 + std::exp(-c));
        for (int o = 0; o < 2 * f; o++) {
          w2[(size_t) o * f + h] += phi[o] * c * s;
          adjoint += phi[o] * second.weight[(size_t) o * f + h];
        }
        adjoint *= s * (1 + c * (1 - s));
        b0[h] += adjoint;
        for (int i = 0; i < f; i++) {
          w0[(size_t) h * f + i] += adjoint * q[i];
          embedding[(size_t) z * f + i] += adjoint * first.weight[(size_t) h * f + i];
        }
      }
      for (int o = 0; o < 2 * f; o++) b2[o] += phi[o];
    }
    put("net.embedding.weight", embedding);
    put("net.messages.0.context.0.weight", w0);
    put("net.messages.0.context.0.bias", b0);
    put("net.messages.0.context.2.weight", w2);
    put("net.messages.0.context.2.bias", b2);
  }

  void put_scale(const Put &put) {
    std::vector<double> scale(weights.n_species, 0.0), reference(weights.n_species, 0.0);
    for (int i = 0; i < pairs->n_owned; i++) {
      scale[pairs->species[i]] += seeds[i] * energies[i] + energies_t[i];
      reference[pairs->species[i]] += seeds[i];
    }
    put("scale", scale);
    put("reference", reference);
  }
};

template <class real>
Training<real>::Training(const Weights &w, const Options &o) : impl(std::make_unique<Impl>(w, o)) {}
template <class real> Training<real>::~Training() = default;
template <class real> void Training<real>::set_weights(const Weights &w) { impl->set_weights(w); }

template <class real>
void Training<real>::gradients(const Pairs &pairs, const double *seeds, const double *changes,
                               const std::function<void(const std::string &, const std::vector<double> &)> &put) {
  impl->pairs = &pairs;
  impl->seeds.assign(seeds, seeds + pairs.n_owned);
  impl->reserve();
  impl->pair_changes(changes);
  impl->run();
  for (int l = 0; l < impl->n_layers; l++) {
    impl->put_update(put, l);
    impl->put_filter(put, l);
  }
  impl->put_species(put);
  impl->put_scale(put);
}

template <class real> size_t Training<real>::memory() const {
  const Impl &i = *impl;
  size_t bytes = i.tables.bytes() + i.bins.bytes() + i.geometry.bytes() + i.changes.bytes() + i.scratch.bytes() +
                 i.arena.bytes() + i.state.bytes() + i.adjoints.bytes();
  for (int l = 0; l < i.n_layers; l++) bytes += i.inputs[l].bytes() + i.kept[l].bytes() + i.table_gradients[l].bytes();
  return bytes;
}

template class Training<float>;
template class Training<double>;

}  // namespace tlmd::engine
