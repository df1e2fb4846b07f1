#include "engine/training.h"

#include "dense_gradients.h"
#include "pair_gradients.h"

#include <cmath>

namespace tlmd::engine {

static std::string filter_of(int l) { return "net.messages." + std::to_string(l) + ".filter"; }

static const std::string VECTORS = "vectors";

static const char *const SPECIES[5] = {"net.embedding.weight", "net.messages.0.context.0.weight",
                                       "net.messages.0.context.0.bias", "net.messages.0.context.2.weight",
                                       "net.messages.0.context.2.bias"};

template <class real> struct Training<real>::Impl {
  const Weights *weights;
  typename PaiNN<real>::Impl values;

  int n_layers, n_threads;
  Buffer<real> changes, scratch, state, adjoints, species_adjoints, moment_sums, moment_adjoints;
  Moments<real> moments;  // tangents
  std::vector<Buffer<real>> inputs, kept, table_gradients;
  std::vector<LayerStore<real>> stores;
  std::vector<double> energies, first_filter;  // first_filter (blocks, basis, 3, lanes): gradient, layer 1 by moments
  const double *seeds = nullptr;
  DenseGradients<real> sums;
  PairGradients<real> pair_gradients;
  bool vectors_wanted = false;
  std::vector<char> filter_wanted;  // of each layer
  bool at_rest = false;             // whether all tangents of the forward pass are zero now
  int deepest = 0;                  // stage of the reverse pass after which no gradient is wanted

  Impl(const Weights &w, const Options &o)
      : weights(&w), values(w, o, true), n_layers(w.n_layers), n_threads(o.n_threads), inputs(n_layers), kept(n_layers),
        table_gradients(n_layers), stores(n_layers), sums(w, o.n_threads), filter_wanted(n_layers) {}

  void reserve() {
    const size_t n = values.pairs->n_owned, f = values.width;
    changes.reserve(4 * values.pairs->neighbour.size());
    scratch.reserve(train_scratch_size(values.width) * n_threads);
    state.reserve(values.n_blocks * values.state_block);
    adjoints.reserve(values.n_blocks * values.input_block);
    species_adjoints.reserve(2 * weights->n_species * f);
    energies.resize(n);
    moments = values.moments;
    if (values.by_moments) {
      moments.scalar = moment_sums.reserve((n + SLACK) * 4 * moments.pitch);
      moments.vector = moments.scalar + (n + SLACK) * moments.pitch;
      moments.scalar_adjoint = nullptr;
    }
    for (int l = 0; l < n_layers; l++) {
      auto place = [&](real *start) {
        return place_store(stores[l], start, n + SLACK, f, l == n_layers - 1, true, false);
      };
      place(kept[l].reserve(place(nullptr)));
      if (l > 0) inputs[l].reserve(values.n_blocks * values.input_block);
    }
  }

  // Stages of the reverse pass: of each layer from the last the gradients of what follows the update, of the update, of
  // the message and of the species.
  enum Part { AFTER, UPDATE, MESSAGE };
  int stage(int l, Part part) const { return 3 * (n_layers - 1 - l) + part; }

  // What is wanted, and how deep the reverse pass goes for it.
  void choose(const Wanted &wanted) {
    deepest = -1;
    const bool species = std::any_of(std::begin(SPECIES), std::end(SPECIES), wanted);
    for (int l = 0; l < n_layers; l++)
      filter_wanted[l] = wanted(filter_of(l) + ".weight") || wanted(filter_of(l) + ".bias");
    sums.choose(*weights, wanted, values.by_moments && (species || filter_wanted[0]) ? moments.width : 0);
    for (int l = 0; l < n_layers; l++) {
      if (sums.wanted(l, false)) deepest = std::max(deepest, stage(l, AFTER));
      if (sums.wanted(l, true)) deepest = std::max(deepest, stage(l, UPDATE));
      if (filter_wanted[l]) deepest = std::max(deepest, stage(l, MESSAGE));
    }
    vectors_wanted = wanted(VECTORS);
    if (species || vectors_wanted) deepest = stage(0, MESSAGE);
  }

  void start_pair_gradients() {
    pair_gradients.start(*values.pairs, values.basis, values.options.n_bins, n_threads, values.bins.data(),
                         changes.data());
    if (!values.by_moments) return;
    const size_t rows = values.pairs->n_owned + SLACK;
    moments.scalar_adjoint = moment_adjoints.reserve(rows * 4 * moments.ld);
    moments.vector_adjoint = moments.scalar_adjoint + rows * moments.ld;
  }

  void pair_changes(const double *given) {
    const double *vectors = values.pairs->vectors.data();
    in_shares((int) values.pairs->neighbour.size(), n_threads, [&](int first, int end, int) {
      for (int p = first; p < end; p++) {
        const double *r = vectors + 3 * (size_t) p, *t = given + 3 * (size_t) p;
        const double one = 1 / std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
        const double along = (r[0] * t[0] + r[1] * t[1] + r[2] * t[2]) * one;
        real *change = changes.data() + 4 * (size_t) p;
        change[0] = (real) along;
        for (int k = 0; k < 3; k++) change[1 + k] = (real) ((t[k] - r[k] * one * along) * one);
      }
    });
  }

  void tangents_of_moments() {
    const int n = values.pairs->n_owned;
    std::fill_n(moments.scalar, (size_t) (n + SLACK) * 4 * moments.pitch, real(0));
    in_shares(n, n_threads, [&](int first, int end, int) {
      kernels().moments_tangent(values.list, moments, changes.data(), first, end);
    });
  }

  // Layer 1 by moments: its reverse pass is the update's, but for the vectors.
  void moments_back() {
    if (sums.of(0, 0).scalar) gradients_of_moments();
    if (!vectors_wanted) return;
    in_shares(values.pairs->n_owned, n_threads, [&](int first, int end, int thread) {
      Moments<real> mine = moments;
      mine.slopes = pair_gradients.slopes_of(thread);
      kernels().moments_tangent_backward(values.list, values.moments, mine, changes.data(),
                                         pair_gradients.slope_changes(), first, end);
    });
  }

  void message(int l, bool reverse) {
    if (l == 0 && values.by_moments) return reverse ? moments_back() : tangents_of_moments();
    const size_t input_block = values.input_block, state_block = values.state_block;
    const size_t species_block = (size_t) weights->n_species * 2 * values.lanes;
    const size_t adjoint_block = l == 0 ? species_block : input_block;
    real *table_sums = reverse && filter_wanted[l]
                           ? table_gradients[l].reserve(values.n_blocks * values.tables.block_size())
                           : nullptr;
    in_shares(values.n_blocks, n_threads, [&](int first, int end, int thread) {
      for (int b = first; b < end; b++) {
        TrainMessage<real> m;
        m.table = values.tables.block(l, b);
        m.changes = changes.data();
        if (l == 0)
          m.inputs.v = values.packed.inputs_of_species(b);
        else
          m.inputs = {values.inputs[l].data() + b * input_block, inputs[l].data() + b * input_block};
        m.sums.t = state.data() + b * state_block;
        if (!reverse) {
          kernels().train_message_forward[l == 0](values.list, m);
          continue;
        }
        m.sums.v = values.state_adjoints_of(l) + b * state_block;
        m.adjoints = (l == 0 ? species_adjoints : adjoints).data() + b * adjoint_block;
        std::fill_n(m.adjoints, adjoint_block, real(0));
        if (table_sums) {
          m.table_gradient = table_sums + b * values.tables.block_size();
          std::fill_n(m.table_gradient, values.tables.block_size(), real(0));
        }
        if (vectors_wanted) {
          m.bends = pair_gradients.slope_changes();
          m.slopes = pair_gradients.slopes_of(thread);
        }
        kernels().train_message_backward[l == 0](values.list, m);
      }
    });
  }

  const Kernels<real> &kernels() const { return values.kernels; }

  void update(int l, bool reverse) {
    const int n = values.pairs->n_owned, n_tiles = (n + TILE - 1) / TILE;
    TrainUpdate<real> u;
    u.width = values.width, u.n_atoms = n, u.last = l == n_layers - 1;
    u.weights = &values.packed.layers[l];
    u.store = values.stores[l];
    u.store_t = stores[l];
    u.state = state.data();
    if (!u.last) {
      u.inputs = inputs[l + 1].data();
      u.adjoints = {values.adjoints_of(l + 1), adjoints.data()};
      u.outer = values.state_adjoints_of(l + 1);
    }
    if (l == 0 && values.by_moments) {
      u.moments = &values.moments, u.moments_t = &moments;
      u.inner = values.state_adjoints_of(0);
    }
    u.deeper = deepest >= stage(l, UPDATE);
    u.species = values.pairs->species.data();
    u.scale = values.packed.scale.data();
    u.seeds = seeds;
    u.energies_t = energies.data();
    in_shares(n_tiles, n_threads, [&](int first, int end, int thread) {
      TrainUpdate<real> mine = u;
      if (reverse) mine.gradients = sums.of(l, thread);
      mine.scratch = scratch.data() + thread * train_scratch_size(values.width);
      for (int k = first; k < end; k++)
        (reverse ? kernels().train_backward : kernels().train_forward)(mine, k * TILE, std::min(TILE, n - k * TILE));
    });
  }

  // Without changes of the pair vectors all tangents of the forward pass are zero.
  void no_tangents() {
    for (auto *of_layers : {&inputs, &kept})
      for (auto &buffer : *of_layers)
        if (!at_rest) std::fill_n(buffer.data(), buffer.bytes() / sizeof(real), real(0));
    std::fill_n(moment_sums.data(), moment_sums.bytes() / sizeof(real), real(0));
    std::fill_n(state.data(), values.n_blocks * values.state_block, real(0));
    std::fill(energies.begin(), energies.end(), 0.0);
  }

  void forward_tangents(int n) {
    std::fill_n(state.data(), values.n_blocks * values.state_block, real(0));
    at_rest = false;
    for (int l = 0; l < n; l++) {
      message(l, false);
      update(l, false);
    }
  }

  void run() {
    const real *end = changes.data() + 4 * values.pairs->neighbour.size();
    const bool none = std::all_of<const real *>(changes.data(), end, [](real change) { return change == 0; });
    if (none)
      no_tangents();
    else
      forward_tangents(n_layers);
    at_rest = none;
    for (int l = n_layers - 1; l >= 0; l--) {
      if (deepest >= stage(l, AFTER)) update(l, true);
      if (deepest >= stage(l, MESSAGE)) message(l, true);
    }
  }

  // Layer 1 by moments: gradients of its filter and of what each species sends, from those of their products.
  void gradients_of_moments() {
    const int lanes = values.lanes, n_basis = values.packed.n_basis, n_species = weights->n_species;
    first_filter.assign((size_t) values.n_blocks * n_basis * 3 * lanes, 0.0);
    std::fill_n(species_adjoints.data(), (size_t) values.width * 2 * n_species, real(0));
    for (int t = 0; t < n_threads; t++)
      for (int part = 0; part < 2; part++) {
        const TrainGradients<real> &g = sums.of(0, t);
        const real *row = part == 0 ? g.scalar : g.vector;
        for (int z = 0; z < n_species; z++)
          for (int k = 0; k < n_basis; k++, row += values.width)
            for (int c = 0; c < values.width; c++) {
              const int b = c / lanes, lane = c % lanes, at = (k * 3 + part) * lanes + lane;
              const size_t input = (size_t) (z * 2 + part) * lanes + lane;
              first_filter[(size_t) b * n_basis * 3 * lanes + at] +=
                  (double) row[c] * values.packed.inputs_of_species(b)[input];
              species_adjoints.data()[(size_t) b * n_species * 2 * lanes + input] +=
                  (real) (row[c] * values.packed.filter(0, b)[at]);
            }
      }
  }

  void put_filter(const Put &put, int l) {
    const int f = weights->width, lanes = values.lanes, n_basis = values.packed.n_basis, n_radial = n_basis - 1;
    const size_t block = (size_t) n_basis * 3 * lanes;
    std::vector<real> weight((size_t) 3 * f * n_radial), bias(3 * f);
    std::vector<double> filter(block);
    for (int b = 0; b < values.n_blocks; b++) {
      if (l == 0 && values.by_moments) {
        std::copy_n(&first_filter[b * block], block, filter.data());
      } else {
        std::fill(filter.begin(), filter.end(), 0.0);
        kernels().table_back(values.table_basis.values.data(), values.tables.rows, n_basis,
                             table_gradients[l].data() + b * values.tables.block_size(), filter.data());
      }
      for (int part = 0; part < 3; part++)
        for (int lane = 0; lane < std::min(lanes, f - b * lanes); lane++) {
          const int row = part * f + b * lanes + lane;
          const double *column = &filter[part * lanes + lane];
          for (int k = 0; k < n_radial; k++) weight[(size_t) row * n_radial + k] = (real) column[k * 3 * lanes];
          bias[row] = (real) column[n_radial * 3 * lanes];
        }
    }
    put(filter_of(l) + ".weight", std::move(weight));
    put(filter_of(l) + ".bias", std::move(bias));
  }

  // Layer 1's context network and the embedding, from what each species sends and is.
  void put_species(const Put &put) {
    const int f = weights->width, lanes = values.lanes, n_species = weights->n_species;
    const Linear &first = weights->layers[0].context0, &second = weights->layers[0].context2;
    std::vector<double> w0(first.weight.size()), b0(f), w2(second.weight.size()), b2(3 * f);
    std::vector<double> embedding((size_t) n_species * values.width), phi(2 * f);
    for (int b = 0; b < values.n_blocks; b++)
      for (int i = 0; i < values.pairs->n_owned; i++) {
        double *sum = &embedding[(size_t) values.pairs->species[i] * values.width + b * lanes];
        const real *row = state.data() + b * values.state_block + (size_t) i * 4 * lanes;
        for (int lane = 0; lane < lanes; lane++) sum[lane] += row[lane];
      }
    for (int z = 0; z < n_species; z++) {
      const double *q = &weights->embedding[(size_t) z * f];
      double *own = &embedding[(size_t) z * values.width];
      for (int part = 0; part < 2; part++)
        for (int c = 0; c < f; c++)
          phi[part * f + c] =
              species_adjoints.data()[(((size_t) (c / lanes) * n_species + z) * 2 + part) * lanes + c % lanes];
      std::vector<double> hidden(first.bias), active(f), adjoint(f);
      for (int h = 0; h < f; h++) {
        for (int i = 0; i < f; i++) hidden[h] += first.weight[(size_t) h * f + i] * q[i];
        active[h] = hidden[h] / (1 + std::exp(-hidden[h]));
      }
      for (int o = 0; o < 2 * f; o++) {
        b2[o] += phi[o];
        for (int h = 0; h < f; h++) {
          w2[(size_t) o * f + h] += phi[o] * active[h];
          adjoint[h] += phi[o] * second.weight[(size_t) o * f + h];
        }
      }
      for (int h = 0; h < f; h++) {
        const double s = 1 / (1 + std::exp(-hidden[h]));
        adjoint[h] *= s * (1 + hidden[h] * (1 - s));
        b0[h] += adjoint[h];
        for (int i = 0; i < f; i++) {
          w0[(size_t) h * f + i] += adjoint[h] * q[i];
          own[i] += adjoint[h] * first.weight[(size_t) h * f + i];
        }
      }
    }
    std::vector<real> own;
    for (int z = 0; z < n_species; z++)
      own.insert(own.end(), &embedding[(size_t) z * values.width], &embedding[(size_t) z * values.width] + f);
    put(SPECIES[0], std::move(own));
    const std::vector<double> *rest[4] = {&w0, &b0, &w2, &b2};
    for (int k = 0; k < 4; k++) put(SPECIES[k + 1], std::vector<real>(rest[k]->begin(), rest[k]->end()));
  }

  void put_scale(const Put &put) {
    std::vector<real> scale(weights->n_species), reference(weights->n_species);
    for (int i = 0; i < values.pairs->n_owned; i++) {
      scale[values.pairs->species[i]] += (real) (seeds[i] * values.energies[i] + energies[i]);
      reference[values.pairs->species[i]] += (real) seeds[i];
    }
    put("scale", std::move(scale));
    put("reference", std::move(reference));
  }
};

template <class real>
Training<real>::Training(const Weights &w, const Options &o) : impl(std::make_unique<Impl>(w, o)) {}
template <class real> Training<real>::~Training() = default;

template <class real> void Training<real>::set_weights(const Weights &w) {
  impl->weights = &w;
  impl->values.set_weights(w);
}

template <class real> void Training<real>::evaluate(const Pairs &pairs, Result &result) {
  impl->values.evaluate(pairs, result);
}

template <class real>
void Training<real>::gradients(const double *seeds, const double *changes, const Wanted &wanted, const Put &put) {
  impl->seeds = seeds;
  impl->reserve();
  impl->choose(wanted);
  impl->pair_changes(changes);
  if (impl->vectors_wanted) impl->start_pair_gradients();
  impl->run();
  const Put chosen = [&](const std::string &name, std::vector<real> values) {
    if (wanted(name)) put(name, std::move(values));
  };
  for (int l = 0; l < impl->n_layers; l++) {
    impl->sums.put(*impl->weights, chosen, l);
    if (impl->filter_wanted[l]) impl->put_filter(chosen, l);
  }
  if (std::any_of(std::begin(SPECIES), std::end(SPECIES), wanted)) impl->put_species(chosen);
  impl->put_scale(chosen);
  if (impl->vectors_wanted)
    put(VECTORS, impl->pair_gradients.vectors(impl->values.slopes, impl->values.geometry.data()));
}

template <class real> void Training<real>::tangents(const double *changes, int n_layers) {
  impl->reserve();
  impl->pair_changes(changes);
  impl->forward_tangents(n_layers);
}

template <class real> const real *Training<real>::features(int layer) const { return impl->values.stores[layer].q_out; }
template <class real> const real *Training<real>::feature_tangents(int layer) const {
  return impl->stores[layer].q_out;
}
template <class real> int Training<real>::feature_stride() const { return impl->values.width; }

template <class real> size_t Training<real>::memory() const {
  const Impl &i = *impl;
  size_t bytes = i.values.memory() + i.changes.bytes() + i.scratch.bytes() + i.sums.bytes() + i.state.bytes() +
                 i.adjoints.bytes() + i.species_adjoints.bytes() + i.moment_sums.bytes() + i.moment_adjoints.bytes() +
                 i.pair_gradients.bytes();
  for (auto *of_layers : {&i.inputs, &i.kept, &i.table_gradients})
    for (const auto &buffer : *of_layers) bytes += buffer.bytes();
  return bytes;
}

template class Training<float>;
template class Training<double>;

}  // namespace tlmd::engine
