// The passes over the layers, of the evaluation and of what training keeps of it.
#ifndef TLMD_ENGINE_PAINN_IMPL_H
#define TLMD_ENGINE_PAINN_IMPL_H

#include "tables.h"
#include "threads.h"

#include <algorithm>
#include <array>

namespace tlmd::engine {

// Places for `rows` atoms from `start` (null: none yet); the last layer has no mu and phi_vv. Returns their size.
template <class real>
size_t place_store(LayerStore<real> &s, real *start, size_t rows, size_t f, bool last, bool training, bool adjoints) {
  size_t size = 0;
  auto take = [&](real *&part, size_t width) {
    part = start ? start + size : nullptr;
    size += rows * width * f;
  };
  take(s.vu, 6), take(s.hidden, 1), take(s.mixed, 3), take(s.context, 1);
  take(s.phi_vv, last ? 0 : 1), take(s.mu, last ? 0 : 3);
  if (training) take(s.q_in, 1), take(s.mu_in, 3), take(s.q_out, 1);
  if (adjoints) take(s.context_adjoint, 1), take(s.update_adjoint, 1), take(s.q_adjoint, 1), take(s.scalar_adjoint, 2);
  return size;
}

// dE/dd and dE/du of a pair, or their tangents, from those of each thread (threads, pairs, 4)
template <class real>
std::array<double, 4> sum_of_threads(const Buffer<real> &slopes, int n_threads, int n_pairs, int pair) {
  std::array<double, 4> sum{};
  for (int t = 0; t < n_threads; t++)
    for (int k = 0; k < 4; k++) sum[k] += slopes.data()[((size_t) t * n_pairs + pair) * 4 + k];
  return sum;
}

template <class real> struct PaiNN<real>::Impl {
  Basis basis;
  std::vector<double> scale, reference;
  Options options;
  std::string isa;
  Kernels<real> kernels;
  bool training, by_moments;
  Packed<real> packed;
  int width, n_blocks, lanes, n_layers;
  Tables<real> tables;
  Dense table_basis{0, 0};   // functions of the rows of the tables
  Buffer<real> basis_table;  // (rows, stride)
  Moments<real> moments;

  const Pairs *pairs = nullptr;
  PairList<real> list;
  Buffer<int> bins;
  Buffer<PairGeometry<real>> geometry;
  Buffer<real> slopes;  // (threads, pairs, 4)
  Buffer<real> state, moment_sums, moment_adjoints, scratch, head_scratch;
  std::vector<Buffer<real>> inputs, kept, features;    // of each layer
  std::vector<Buffer<real>> adjoints, state_adjoints;  // of each layer's inputs and sums; without training one for all
  std::vector<LayerStore<real>> stores;
  std::vector<int> head_layers;
  std::vector<Buffer<real>> head_adjoints;  // of each layer's features; empty where the head does not read them
  std::vector<double> energies;
  size_t input_block = 0, state_block = 0;

  Impl(const Weights &w, const Options &o, bool training)
      : basis(w.basis), scale(w.scale), reference(w.reference), options(o), isa(choose_isa(o.isa)),
        kernels(kernels_of<real>(isa)), training(training), by_moments(w.n_species <= o.moment_species),
        packed(w, kernels.lanes, by_moments, !training), width(packed.width), n_blocks(width / kernels.lanes),
        lanes(kernels.lanes), n_layers(w.n_layers), inputs(n_layers), kept(n_layers), features(n_layers),
        adjoints(training ? n_layers : 1), state_adjoints(training ? n_layers : 0), stores(n_layers),
        head_layers(w.head.layers), head_adjoints(n_layers) {
    moments.n_basis = w.basis.size();
    moments.stride = padded(w.basis.size(), lanes);
    moments.width = w.n_species * moments.n_basis;
    moments.pitch = moments.width - moments.n_basis + moments.stride;
    moments.ld = padded(moments.width);
    if (options.n_bins > 0) {
      table_basis = spline_basis(w.basis, options.n_bins);
      make_tables();
    }
  }

  void set_weights(const Weights &w) {
    scale = w.scale, reference = w.reference;
    packed.set(w);
    if (options.n_bins > 0) make_tables();
  }

  // Tables of all layers, and of layer 1's basis.
  void make_tables() {
    tables.build(table_basis, packed, kernels, by_moments ? 1 : 0);
    if (!by_moments) return;
    moments.table = basis_table.reserve((size_t) table_basis.rows * moments.stride);
    for (int r = 0; r < table_basis.rows; r++)
      for (int k = 0; k < moments.n_basis; k++)
        basis_table.data()[(size_t) r * moments.stride + k] = (real) table_basis.at(r, k);
  }

  void reserve() {
    const size_t n = pairs->n_owned, m = pairs->n_rows, n_pairs = pairs->neighbour.size(), f = width;
    const size_t rows = n + SLACK;
    bins.reserve(n_pairs);
    geometry.reserve(n_pairs);
    slopes.reserve(n_pairs * 4 * options.n_threads);
    scratch.reserve(scratch_size(width) * options.n_threads);
    state_block = n * 4 * lanes;
    input_block = m * 5 * lanes;
    state.reserve(n_blocks * state_block);
    energies.resize(n);
    for (int l = 0; l < n_layers; l++) {
      const bool last = l == n_layers - 1;
      auto place = [&](real *start) { return place_store(stores[l], start, rows, f, last, training, training); };
      place(kept[l].reserve(place(nullptr)));
      if (l > 0) inputs[l].reserve(n_blocks * input_block);
      if (options.keep_features || read_by_head(l)) features[l].reserve(rows * f);
      if (read_by_head(l)) head_adjoints[l].reserve(rows * f);
    }
    head_scratch.reserve(head_scratch_size((int) head_layers.size() * width, packed.head.n_out) * options.n_threads);
    for (auto &of_layer : adjoints) of_layer.reserve(n_blocks * input_block);
    for (auto &of_layer : state_adjoints) of_layer.reserve(n_blocks * state_block);
    if (!by_moments) return;
    const size_t sums = rows * 4 * moments.pitch, adjoint = rows * 4 * moments.ld;
    moments.scalar = moment_sums.reserve(sums);
    moments.vector = moments.scalar + rows * moments.pitch;
    moments.scalar_adjoint = moment_adjoints.reserve(adjoint);
    moments.vector_adjoint = moments.scalar_adjoint + rows * moments.ld;
  }

  bool read_by_head(int l) const { return std::count(head_layers.begin(), head_layers.end(), l) > 0; }

  size_t memory() const {
    size_t bytes = head_scratch.bytes() + tables.bytes() + basis_table.bytes() + bins.bytes() + geometry.bytes() +
                   slopes.bytes() + state.bytes() + moment_sums.bytes() + moment_adjoints.bytes() + scratch.bytes();
    for (auto *of_layers : {&inputs, &kept, &features, &adjoints, &state_adjoints, &head_adjoints})
      for (const auto &buffer : *of_layers) bytes += buffer.bytes();
    return bytes;
  }

  // dE/d(inputs) and dE/d(q, mu after the message) of layer l
  real *adjoints_of(int l) { return adjoints[training ? l : 0].data(); }
  real *state_adjoints_of(int l) { return (training ? state_adjoints[l] : state).data(); }

  void message(int l, bool reverse) {
    const size_t n_pairs = pairs->neighbour.size();
    in_shares(n_blocks, options.n_threads, [&](int first, int end, int thread) {
      for (int b = first; b < end; b++) {
        Message<real> m;
        m.table = tables.block(l, b);
        m.inputs = l == 0 ? packed.inputs_of_species(b) : inputs[l].data() + b * input_block;
        m.sums = (reverse ? state_adjoints_of(l) : state.data()) + b * state_block;
        m.adjoints = adjoints_of(l) + b * input_block;
        m.slopes = slopes.data() + thread * n_pairs * 4;
        if (reverse && l > 0) std::fill_n(m.adjoints, input_block, real(0));
        (reverse ? kernels.message_backward : kernels.message_forward)[l == 0](list, m);
      }
    });
  }

  void update(int l, bool reverse) {
    const int n = pairs->n_owned, n_tiles = (n + TILE - 1) / TILE;
    Update<real> u;
    u.width = width, u.n_rows = pairs->n_rows, u.n_owned = n;
    u.last = l == n_layers - 1;
    u.weights = &packed.layers[l];
    u.store = stores[l];
    u.state = !reverse ? state.data() : u.last ? nullptr : state_adjoints_of(l + 1);
    u.state_back = state_adjoints_of(l);
    u.inputs = u.last ? nullptr : inputs[l + 1].data();
    u.adjoints = u.last ? nullptr : adjoints_of(l + 1);
    u.moments = l == 0 && by_moments ? &moments : nullptr;
    u.embedding = packed.embedding.data();
    u.species = pairs->species.data();
    u.scale = packed.scale.data();
    u.energies = energies.data();
    u.features = features[l].data();
    u.injected = head_adjoints[l].data();
    in_shares(n_tiles, options.n_threads, [&](int first, int end, int thread) {
      Update<real> mine = u;
      mine.scratch = scratch.data() + thread * scratch_size(width);
      for (int k = first; k < end; k++)
        (reverse ? kernels.update_backward : kernels.update_forward)(mine, k * TILE, std::min(TILE, n - k * TILE));
    });
    if (u.last && !reverse && !head_layers.empty()) head();
  }

  // Energies and adjoints of the features, once the last layer has its own.
  void head() {
    const int n = pairs->n_owned, n_tiles = (n + TILE - 1) / TILE, n_in = (int) head_layers.size() * width;
    std::vector<const real *> from;
    std::vector<real *> to;
    for (int l : head_layers) from.push_back(features[l].data()), to.push_back(head_adjoints[l].data());
    KernelFunctions<real> h = packed.head;
    h.features = from.data(), h.adjoints = to.data();
    h.scale = packed.scale.data(), h.species = pairs->species.data(), h.energies = energies.data();
    in_shares(n_tiles, options.n_threads, [&](int first, int end, int thread) {
      KernelFunctions<real> mine = h;
      mine.scratch = head_scratch.data() + thread * head_scratch_size(n_in, h.n_out);
      for (int k = first; k < end; k++) kernels.kernel_head(mine, k * TILE, std::min(TILE, n - k * TILE));
    });
  }

  void layer_of_species() {
    if (!by_moments) {
      std::fill_n(state.data(), n_blocks * state_block, real(0));
      packed.start(*pairs, state.data());
      message(0, false);
    } else {
      std::fill_n(moments.scalar, (size_t) (pairs->n_owned + SLACK) * 4 * moments.pitch, real(0));
      in_shares(pairs->n_owned, options.n_threads,
                [&](int first, int end, int) { kernels.moments_forward(list, moments, first, end); });
    }
    update(0, false);
  }

  void layer_of_species_back() {
    update(0, true);
    if (!by_moments) return message(0, true);
    in_shares(pairs->n_owned, options.n_threads, [&](int first, int end, int thread) {
      Moments<real> mine = moments;
      mine.slopes = slopes.data() + thread * pairs->neighbour.size() * 4;
      kernels.moments_backward(list, mine, first, end);
    });
  }

  void begin(const Pairs &given) {
    pairs = &given;
    const int n_pairs = (int) given.neighbour.size();
    reserve();
    in_shares(n_pairs, options.n_threads, [&](int first, int end, int thread) {
      kernels.pair_geometry(given.vectors.data() + 3 * (size_t) first, end - first, std::max(options.n_bins, 1),
                            basis.cutoff, bins.data() + first, geometry.data() + first);
      std::fill_n(slopes.data() + (size_t) thread * n_pairs * 4, (size_t) n_pairs * 4, real(0));
    });
    if (options.n_bins <= 0) {
      table_basis = exact_basis(basis, given, training, bins.data(), geometry.data());
      make_tables();
    }
    list = {given.n_owned, given.first.data(),   given.directed.data(), given.neighbour.data(),
            bins.data(),   given.species.data(), geometry.data()};
    layer_of_species();
  }

  void forward(int l) {
    message(l, false);
    update(l, false);
  }

  void backward(int l) {
    update(l, true);
    message(l, true);
  }

  void evaluate(const Pairs &given, Result &result) {
    begin(given);
    for (int l = 1; l < n_layers; l++) forward(l);
    for (int l = n_layers - 1; l > 0; l--) backward(l);
    finish(result);
  }

  void finish(Result &result) {
    layer_of_species_back();
    const int n_pairs = (int) pairs->neighbour.size();
    result.energies.resize(pairs->n_owned);
    result.slopes.resize(3 * (size_t) n_pairs);
    for (int i = 0; i < pairs->n_owned; i++) {
      const int z = pairs->species[i];
      result.energies[i] = energies[i] * scale[z] + reference[z];
    }
    in_shares(n_pairs, options.n_threads, [&](int first, int end, int) {
      for (int p = first; p < end; p++) {
        const auto sum = sum_of_threads(slopes, options.n_threads, n_pairs, p);
        const PairGeometry<real> &g = geometry.data()[p];
        double u[3];
        for (int k = 0; k < 3; k++) u[k] = g.unit[k];
        const double along = u[0] * sum[1] + u[1] * sum[2] + u[2] * sum[3];
        for (int k = 0; k < 3; k++)
          result.slopes[3 * (size_t) p + k] = sum[0] * u[k] + (sum[1 + k] - along * u[k]) * g.inverse;
      }
    });
  }
};

}  // namespace tlmd::engine
#endif
