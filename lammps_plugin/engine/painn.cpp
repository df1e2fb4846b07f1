#include "painn.h"

#include "tables.h"
#include "threads.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace tlmd::engine {

static constexpr int FEWEST_BINS = 96, USUAL_BINS = 256, MOST_BINS = 2048;

template <class real> struct PaiNN<real>::Impl {
  Weights weights;
  Options options;
  std::string isa;
  Kernels<real> kernels;
  bool by_moments;
  Packed<real> packed;
  int width, n_blocks, lanes, n_layers;
  Tables<real> tables;
  Dense splines{0, 0};
  Buffer<real> basis_table;  // (rows, stride)
  Moments<real> moments;

  const Pairs *pairs = nullptr;
  PairList<real> list;
  Buffer<int> bins;
  Buffer<PairGeometry<real>> geometry;
  Buffer<real> slopes;  // (threads, pairs, 4)
  Buffer<real> state, adjoints, moment_sums, moment_adjoints, scratch;
  std::vector<Buffer<real>> inputs, kept, features;  // of each layer
  std::vector<LayerStore<real>> stores;
  std::vector<double> energies;
  size_t input_block = 0, state_block = 0;

  Impl(const Weights &w, const Options &o)
      : weights(w), options(o), isa(choose_isa(o.isa)), kernels(kernels_of<real>(isa)),
        by_moments(w.n_species <= o.moment_species), packed(w, kernels.lanes, by_moments), width(packed.width),
        n_blocks(width / kernels.lanes), lanes(kernels.lanes), n_layers(w.n_layers), inputs(n_layers), kept(n_layers),
        features(n_layers), stores(n_layers) {
    moments.n_basis = w.basis.size();
    moments.stride = padded(w.basis.size(), lanes);
    moments.width = w.n_species * moments.n_basis;
    moments.pitch = moments.width - moments.n_basis + moments.stride;
    moments.ld = padded(moments.width);
    if (options.n_bins > 0) {
      splines = spline_basis(w.basis, options.n_bins);
      make_tables(splines);
    }
  }

  void set_weights(const Weights &w) {
    weights = w;
    packed = Packed<real>(w, kernels.lanes, by_moments);
    if (options.n_bins > 0) make_tables(splines);
  }

  // Tables of all layers, and of layer 1's basis, from rows of basis functions.
  void make_tables(const Dense &basis) {
    tables.build(basis, packed, lanes, by_moments ? 1 : 0);
    if (!by_moments) return;
    moments.table = basis_table.reserve((size_t) basis.rows * moments.stride);
    for (int r = 0; r < basis.rows; r++)
      for (int k = 0; k < moments.n_basis; k++)
        basis_table.data()[(size_t) r * moments.stride + k] = (real) basis.at(r, k);
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
    adjoints.reserve(n_blocks * input_block);
    energies.resize(n);
    for (int l = 0; l < n_layers; l++) {
      const bool last = l == n_layers - 1;
      const size_t widths[6] = {6 * f, f, 3 * f, f, last ? 0 : f, last ? 0 : 3 * f};
      real **parts[6] = {&stores[l].vu,      &stores[l].hidden, &stores[l].mixed,
                         &stores[l].context, &stores[l].phi_vv, &stores[l].mu};
      real *p = kept[l].reserve(rows * (last ? 11 : 15) * f);
      for (int k = 0; k < 6; k++) {
        *parts[k] = p;
        p += rows * widths[k];
      }
      if (l > 0 || !by_moments) inputs[l].reserve(n_blocks * input_block);
      if (options.keep_features) features[l].reserve(rows * f);
    }
    if (!by_moments) return;
    const size_t sums = rows * 4 * moments.pitch, adjoint = rows * 4 * moments.ld;
    moments.scalar = moment_sums.reserve(sums);
    moments.vector = moments.scalar + rows * moments.pitch;
    moments.scalar_adjoint = moment_adjoints.reserve(adjoint);
    moments.vector_adjoint = moments.scalar_adjoint + rows * moments.ld;
  }

  void message(int l, bool reverse) {
    const size_t n_pairs = pairs->neighbour.size();
    in_shares(n_blocks, options.n_threads, [&](int first, int end, int thread) {
      for (int b = first; b < end; b++) {
        Message<real> m;
        m.table = tables.block(l, b);
        m.inputs = inputs[l].data() + b * input_block;
        m.sums = state.data() + b * state_block;
        m.adjoints = adjoints.data() + b * input_block;
        m.slopes = slopes.data() + thread * n_pairs * 4;
        if (reverse) std::fill_n(m.adjoints, input_block, real(0));
        (reverse ? kernels.message_backward : kernels.message_forward)(list, m);
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
    u.state = state.data();
    u.inputs = u.last ? nullptr : inputs[l + 1].data();
    u.adjoints = adjoints.data();
    u.moments = l == 0 && by_moments ? &moments : nullptr;
    u.embedding = packed.embedding.data();
    u.species = pairs->species.data();
    u.scale = packed.scale.data();
    u.energies = energies.data();
    u.features = options.keep_features ? features[l].data() : nullptr;
    in_shares(n_tiles, options.n_threads, [&](int first, int end, int thread) {
      Update<real> mine = u;
      mine.scratch = scratch.data() + thread * scratch_size(width);
      for (int k = first; k < end; k++)
        (reverse ? kernels.update_backward : kernels.update_forward)(mine, k * TILE, std::min(TILE, n - k * TILE));
    });
  }

  void layer_of_species() {
    if (!by_moments) {
      std::fill_n(state.data(), n_blocks * state_block, real(0));
      std::fill_n(inputs[0].data(), n_blocks * input_block, real(0));
      packed.start(*pairs, state.data(), inputs[0].data());
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
                            weights.basis.cutoff, bins.data() + first, geometry.data() + first);
      std::fill_n(slopes.data() + (size_t) thread * n_pairs * 4, (size_t) n_pairs * 4, real(0));
    });
    if (options.n_bins <= 0) make_tables(exact_basis(weights.basis, given, bins.data(), geometry.data()));
    list = {given.n_owned, given.first.data(),   given.directed.data(), given.neighbour.data(),
            bins.data(),   given.species.data(), geometry.data()};
    layer_of_species();
  }

  void finish(Result &result) {
    layer_of_species_back();
    const int n_pairs = (int) pairs->neighbour.size();
    result.energies.resize(pairs->n_owned);
    result.slopes.resize(3 * (size_t) n_pairs);
    for (int i = 0; i < pairs->n_owned; i++) {
      const int z = pairs->species[i];
      result.energies[i] = energies[i] * weights.scale[z] + weights.reference[z];
    }
    in_shares(n_pairs, options.n_threads, [&](int first, int end, int) {
      for (int p = first; p < end; p++) {
        double sum[4] = {0, 0, 0, 0}, u[3];
        for (int t = 0; t < options.n_threads; t++)
          for (int k = 0; k < 4; k++) sum[k] += slopes.data()[((size_t) t * n_pairs + p) * 4 + k];
        const PairGeometry<real> &g = geometry.data()[p];
        for (int k = 0; k < 3; k++) u[k] = g.unit[k];
        const double along = u[0] * sum[1] + u[1] * sum[2] + u[2] * sum[3];
        for (int k = 0; k < 3; k++)
          result.slopes[3 * (size_t) p + k] = sum[0] * u[k] + (sum[1 + k] - along * u[k]) * g.inverse;
      }
    });
  }
};

template <class real> PaiNN<real>::PaiNN(const Weights &w, const Options &o) : impl(std::make_unique<Impl>(w, o)) {}
template <class real> PaiNN<real>::~PaiNN() = default;
template <class real> int PaiNN<real>::n_layers() const { return impl->n_layers; }
template <class real> const std::string &PaiNN<real>::isa() const { return impl->isa; }
template <class real> void PaiNN<real>::set_threads(int n) { impl->options.n_threads = std::max(n, 1); }
template <class real> void PaiNN<real>::set_weights(const Weights &w) { impl->set_weights(w); }
template <class real> void PaiNN<real>::begin(const Pairs &pairs) { impl->begin(pairs); }
template <class real> void PaiNN<real>::forward(int layer) {
  impl->message(layer, false);
  impl->update(layer, false);
}
template <class real> void PaiNN<real>::backward(int layer) {
  impl->update(layer, true);
  impl->message(layer, true);
}
template <class real> void PaiNN<real>::finish(Result &result) { impl->finish(result); }
template <class real> void PaiNN<real>::evaluate(const Pairs &pairs, Result &result) {
  begin(pairs);
  for (int l = 1; l < n_layers(); l++) forward(l);
  for (int l = n_layers() - 1; l > 0; l--) backward(l);
  finish(result);
}
template <class real> int PaiNN<real>::n_blocks() const { return impl->n_blocks; }
template <class real> int PaiNN<real>::row_width() const { return 5 * impl->lanes; }
template <class real> size_t PaiNN<real>::block_stride() const { return impl->input_block; }
template <class real> real *PaiNN<real>::inputs(int layer) { return impl->inputs[layer].data(); }
template <class real> real *PaiNN<real>::adjoints() { return impl->adjoints.data(); }
template <class real> const real *PaiNN<real>::features(int layer) const { return impl->features[layer].data(); }
template <class real> int PaiNN<real>::feature_stride() const { return impl->width; }
template <class real> size_t PaiNN<real>::memory() const {
  const Impl &i = *impl;
  size_t bytes = i.tables.bytes() + i.basis_table.bytes() + i.bins.bytes() + i.geometry.bytes() + i.slopes.bytes() +
                 i.state.bytes() + i.adjoints.bytes() + i.moment_sums.bytes() + i.moment_adjoints.bytes() +
                 i.scratch.bytes();
  for (int l = 0; l < i.n_layers; l++) bytes += i.inputs[l].bytes() + i.kept[l].bytes() + i.features[l].bytes();
  return bytes;
}

template <class real>
double PaiNN<real>::memory_per_atom(const Weights &w, double pairs_per_atom, double rows_per_atom) {
  const double f = padded(w.width), layers = w.n_layers, moments = padded(w.n_species * w.basis.size());
  const double numbers = f * (15 * layers - 4 + 4 + 5 * layers * rows_per_atom) + 8 * moments;
  return numbers * sizeof(real) +
         pairs_per_atom * (sizeof(PairGeometry<real>) + 2 * sizeof(int) + 4 * sizeof(real) + 6 * sizeof(double));
}

TableChoice choose_bins(const Weights &w, const Pairs &sample, double tolerance) {
  auto forces = [&](int n_bins) {
    Options options;
    options.n_bins = n_bins;
    Result result;
    PaiNN<double>(w, options).evaluate(sample, result);
    return forces_of(sample, result.slopes);
  };
  const auto truth = forces(0);
  double square = 0;
  for (double f : truth) square += f * f;
  const double rms = std::sqrt(square / std::max<size_t>(truth.size(), 1));
  if (rms == 0) return {USUAL_BINS, 0.0};  // a sample that says nothing
  for (int n_bins = FEWEST_BINS;;) {
    const auto f = forces(n_bins);
    double worst = 0;
    for (size_t k = 0; k < f.size(); k++) worst = std::max(worst, std::fabs(f[k] - truth[k]));
    const double error = worst / rms;
    if (error <= tolerance || n_bins >= MOST_BINS) return {n_bins, error};
    // the error of a quintic spline goes with the sixth power of a bin's width
    const double wanted = n_bins * std::pow(error / tolerance, 1.0 / 6);
    n_bins = std::min(MOST_BINS, std::max(n_bins + 16, (int) std::ceil(wanted / 16) * 16));
  }
}

template class PaiNN<float>;
template class PaiNN<double>;

}  // namespace tlmd::engine
