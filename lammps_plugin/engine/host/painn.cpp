// The passes of an evaluation over the layers: forward, the kernel head, and in reverse.
#include "painn_impl.h"

#include <cmath>

namespace tlmd::engine {

template <class real>
PaiNN<real>::Impl::Impl(const Weights &w, const Options &o, bool training)
    : scale(w.scale), reference(w.reference), repulsion(w.repulsion), options(o), isa(choose_isa(o.isa)),
      kernels(kernels_of<Kernels<real>>(isa.c_str())), training(training), by_moments(w.n_species <= o.moment_species),
      packed(w, kernels.lanes, by_moments, !training), width(packed.width), n_blocks(width / kernels.lanes),
      lanes(kernels.lanes), n_layers(w.n_layers),
      n_spheres(n_layers > 1 && w.first_basis.cutoff > w.basis.cutoff ? 2 : 1), inputs(n_layers), kept(n_layers),
      features(n_layers), adjoints(training ? n_layers : 1), state_adjoints(training ? n_layers : 0), stores(n_layers),
      head_layers(w.head.layers), head_adjoints(n_layers) {
  moments.n_basis = w.basis.size();
  moments.stride = padded(w.basis.size(), lanes);
  moments.width = w.n_species * moments.n_basis;
  moments.pitch = moments.width - moments.n_basis + moments.stride;
  moments.adjoint_pitch = padded(moments.pitch);  // rows are read in whole vectors, to the end of the last stride
  spheres[0].set(w.first_basis, options.n_bins);
  if (n_spheres == 2) spheres[1].set(w.basis, options.n_bins);
  if (options.n_bins > 0) make_tables();
}

template <class real> void PaiNN<real>::Impl::set_weights(const Weights &w) {
  scale = w.scale, reference = w.reference, repulsion = w.repulsion;
  packed.set(w);
  if (options.n_bins > 0) make_tables();
}

// Tables of all layers, and of layer 1's basis.
template <class real> void PaiNN<real>::Impl::make_tables() {
  for (int l = by_moments ? 1 : 0; l < n_layers; l++) tables.build(l, sphere(l).table_basis, packed, kernels);
  if (!by_moments) return;
  const Dense &table_basis = spheres[0].table_basis;
  moments.table = basis_table.reserve((size_t) table_basis.rows * moments.stride);
  for (int r = 0; r < table_basis.rows; r++)
    for (int k = 0; k < moments.n_basis; k++)
      basis_table.data()[(size_t) r * moments.stride + k] = (real) table_basis.at(r, k);
}

template <class real> void PaiNN<real>::Impl::reserve() {
  const size_t n = pairs->n_owned, m = pairs->n_rows, f = width;
  const size_t rows = n + SLACK;
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
  const size_t sums = rows * 4 * moments.pitch, adjoint = rows * 4 * moments.adjoint_pitch;
  moments.scalar = moment_sums.reserve(sums);
  moments.vector = moments.scalar + rows * moments.pitch;
  moments.scalar_adjoint = moment_adjoints.reserve(adjoint);
  moments.vector_adjoint = moments.scalar_adjoint + rows * moments.adjoint_pitch;
}

template <class real> bool PaiNN<real>::Impl::read_by_head(int l) const {
  return std::count(head_layers.begin(), head_layers.end(), l) > 0;
}

template <class real> size_t PaiNN<real>::Impl::memory() const {
  size_t bytes = head_scratch.bytes() + tables.bytes() + basis_table.bytes() + spheres[0].bytes() + spheres[1].bytes() +
                 state.bytes() + moment_sums.bytes() + moment_adjoints.bytes() + scratch.bytes();
  for (auto *of_layers : {&inputs, &kept, &features, &adjoints, &state_adjoints, &head_adjoints})
    for (const auto &buffer : *of_layers) bytes += buffer.bytes();
  for (const Flux &f : flux)
    for (const auto *buffer : {&f.state, &f.inputs, &f.moment_adjoints, &f.slopes[0], &f.slopes[1]})
      bytes += buffer->bytes();
  return bytes;
}

template <class real> void PaiNN<real>::Impl::begin(const Pairs &system) {
  pairs = &system;
  reserve();
  for (int s = 0; s < n_spheres; s++) spheres[s].take(system, s == 1, kernels, options.n_threads, training);
  if (options.n_bins <= 0) make_tables();
  if (with_flux) start_flux();
  first_layer();
}

template <class real> void PaiNN<real>::Impl::forward(int l) {
  message(l);
  update(l);
}

template <class real> void PaiNN<real>::Impl::backward(int l) {
  const Reverse reverse = of_energy(l);
  update(l, &reverse);
  message(l, &reverse);
  if (with_flux) flux_back(l);
}

template <class real> void PaiNN<real>::Impl::evaluate(const Pairs &system, Result &result) {
  begin(system);
  for (int l = 1; l < n_layers; l++) forward(l);
  for (int l = n_layers - 1; l > 0; l--) backward(l);
  finish(result);
}

template <class real> void PaiNN<real>::Impl::first_layer() {
  if (!by_moments) {
    std::fill_n(state.data(), n_blocks * state_block, real(0));
    packed.start(*pairs, state.data());
    message(0);
  } else {
    std::fill_n(moments.scalar, (size_t) (pairs->n_owned + SLACK) * 4 * moments.pitch, real(0));
    in_shares(pairs->n_owned, options.n_threads,
              [&](int first, int end, int) { kernels.moments_forward(spheres[0].list, moments, first, end); });
  }
  update(0);
}

template <class real> void PaiNN<real>::Impl::first_layer_back(const Reverse &reverse) {
  update(0, &reverse);
  if (!by_moments) return message(0, &reverse);
  in_shares(pairs->n_owned, options.n_threads, [&](int first, int end, int thread) {
    Moments<real> of_thread = *reverse.moments;
    of_thread.slopes = reverse.slopes + spheres[0].slopes_before(thread);
    kernels.moments_backward(spheres[0].list, of_thread, first, end);
  });
}

template <class real> typename PaiNN<real>::Impl::Reverse PaiNN<real>::Impl::of_energy(int l) {
  const bool last = l == n_layers - 1;
  return {last ? nullptr : state_adjoints_of(l + 1),
          state_adjoints_of(l),
          last ? nullptr : adjoints_of(l + 1),
          adjoints_of(l),
          &moments,
          sphere(l).slopes.data(),
          true};
}

template <class real> void PaiNN<real>::Impl::message(int l, const Reverse *reverse) {
  in_shares(n_blocks, options.n_threads, [&](int first, int end, int thread) {
    for (int b = first; b < end; b++) {
      Message<real> m;
      m.table = tables.block(l, b);
      m.inputs = l == 0 ? packed.phi_of_species(b) : inputs[l].data() + b * input_block;
      m.sums = (reverse ? reverse->state : state.data()) + b * state_block;
      if (reverse) {
        m.adjoints = reverse->inputs + b * input_block;
        m.slopes = reverse->slopes + sphere(l).slopes_before(thread);
        if (l > 0) std::fill_n(m.adjoints, input_block, real(0));
      }
      (reverse ? kernels.message_backward : kernels.message_forward)[l == 0](sphere(l).list, m);
    }
  });
}

template <class real> void PaiNN<real>::Impl::update(int l, const Reverse *reverse) {
  Update<real> u;
  u.width = width, u.n_rows = pairs->n_rows, u.n_owned = pairs->n_owned;
  u.last = l == n_layers - 1;
  u.weights = &packed.layers[l];
  u.store = stores[l];
  u.state = reverse ? reverse->state_after : state.data();
  u.state_back = reverse ? reverse->state : nullptr;
  u.inputs = u.last ? nullptr : inputs[l + 1].data();
  u.adjoints = reverse ? reverse->inputs_after : nullptr;
  u.moments = l > 0 || !by_moments ? nullptr : reverse ? reverse->moments : &moments;
  u.embedding = packed.embedding.data();
  u.species = pairs->species.data();
  u.scale = packed.scale.data();
  u.energies = energies.data();
  u.features = features[l].data();
  u.head_adjoint = reverse && reverse->of_energy ? head_adjoints[l].data() : nullptr;
  in_tiles(pairs->n_owned, options.n_threads, [&](int first, int count, int thread) {
    Update<real> of_thread = u;
    of_thread.scratch = scratch.data() + thread * scratch_size(width);
    (reverse ? kernels.update_backward : kernels.update_forward)(of_thread, first, count);
  });
  if (u.last && !reverse && !head_layers.empty()) head();
}

// Energies and adjoints of the features, once the last layer has its own.
template <class real> void PaiNN<real>::Impl::head() {
  const int n_in = (int) head_layers.size() * width;
  std::vector<const real *> from;
  std::vector<real *> to;
  for (int l : head_layers) from.push_back(features[l].data()), to.push_back(head_adjoints[l].data());
  KernelHead<real> h = packed.head;
  h.features = from.data(), h.adjoints = to.data();
  h.scale = packed.scale.data(), h.species = pairs->species.data(), h.energies = energies.data();
  in_tiles(pairs->n_owned, options.n_threads, [&](int first, int count, int thread) {
    KernelHead<real> of_thread = h;
    of_thread.scratch = head_scratch.data() + thread * head_scratch_size(n_in, h.n_out);
    kernels.kernel_head(of_thread, first, count);
  });
}

// vectors (pairs, stride): dE/dr_ij from dE/dd and dE/du of both spheres, of all threads
template <class real>
void PaiNN<real>::Impl::pair_slopes(const real *of_first, const real *of_second, int stride, double *vectors) const {
  const int n_pairs = spheres[0].size();
  const std::vector<int> &inner = spheres[1].index;
  in_shares(n_pairs, options.n_threads, [&](int first, int end, int) {
    auto next = std::lower_bound(inner.begin(), inner.end(), first);
    for (int p = first; p < end; p++) {
      auto sum = sum_of_threads(of_first, options.n_threads, n_pairs, p);
      if (next != inner.end() && *next == p) {
        const int k = (int) (next++ - inner.begin());
        const auto of_others = sum_of_threads(of_second, options.n_threads, (int) inner.size(), k);
        for (int c = 0; c < 4; c++) sum[c] += of_others[c];
      }
      const PairGeometry<real> &g = spheres[0].geometry.data()[p];
      double u[3];
      for (int k = 0; k < 3; k++) u[k] = g.unit[k];
      const double along = u[0] * sum[1] + u[1] * sum[2] + u[2] * sum[3];
      for (int k = 0; k < 3; k++)
        vectors[stride * (size_t) p + k] = sum[0] * u[k] + (sum[1 + k] - along * u[k]) * g.inverse;
    }
  });
}

template <class real> void PaiNN<real>::Impl::finish(Result &result) {
  first_layer_back(of_energy(0));
  result.energies.resize(pairs->n_owned);
  for (int i = 0; i < pairs->n_owned; i++) {
    const int z = pairs->species[i];
    result.energies[i] = energies[i] * scale[z] + reference[z];
  }
  result.slopes.resize(3 * (size_t) spheres[0].size());
  pair_slopes(spheres[0].slopes.data(), spheres[1].slopes.data(), 3, result.slopes.data());
  repulsion.add(*pairs, result);  // of each direction half, the own atom's: no flux
  result.flux.assign(with_flux ? 9 * (size_t) spheres[0].size() : 0, 0.0);
  for (int a = 0; a < 3 && with_flux && n_layers > 1; a++) {
    first_layer_back(of_flux(0, a));
    pair_slopes(flux[a].slopes[0].data(), flux[a].slopes[1].data(), 9, result.flux.data() + 3 * a);
  }
}

// The public class

template <class real>
PaiNN<real>::PaiNN(const Weights &w, const Options &o) : impl(std::make_unique<Impl>(w, o, false)) {}
template <class real> PaiNN<real>::~PaiNN() = default;
template <class real> int PaiNN<real>::n_layers() const { return impl->n_layers; }
template <class real> const std::string &PaiNN<real>::isa() const { return impl->isa; }
template <class real> void PaiNN<real>::set_threads(int n) { impl->options.n_threads = std::max(n, 1); }
template <class real> void PaiNN<real>::set_head_weights(const std::vector<double> &weights) {
  impl->packed.set_head_weights(weights);
}
template <class real> void PaiNN<real>::begin(const Pairs &pairs) { impl->begin(pairs); }
template <class real> void PaiNN<real>::forward(int layer) { impl->forward(layer); }
template <class real> void PaiNN<real>::backward(int layer) { impl->backward(layer); }
template <class real> void PaiNN<real>::finish(Result &result) { impl->finish(result); }
template <class real> void PaiNN<real>::evaluate(const Pairs &pairs, Result &result) { impl->evaluate(pairs, result); }
template <class real> int PaiNN<real>::n_blocks() const { return impl->n_blocks; }
template <class real> int PaiNN<real>::row_width() const { return 5 * impl->lanes; }
template <class real> size_t PaiNN<real>::block_stride() const { return impl->input_block; }
template <class real> real *PaiNN<real>::inputs(int layer) { return impl->inputs[layer].data(); }
template <class real> int PaiNN<real>::n_passes() const { return impl->with_flux ? 4 : 1; }
template <class real> real *PaiNN<real>::adjoints(int pass) {
  return pass ? impl->flux[pass - 1].inputs.data() : impl->adjoints_of(0);
}
template <class real> void PaiNN<real>::want_flux(bool wanted) { impl->with_flux = wanted; }
template <class real> const real *PaiNN<real>::features(int layer) const { return impl->features[layer].data(); }
template <class real> int PaiNN<real>::feature_stride() const { return impl->width; }
template <class real> size_t PaiNN<real>::memory() const { return impl->memory(); }

template <class real>
double PaiNN<real>::memory_per_atom(const Weights &w, double pairs_per_atom, double rows_per_atom) {
  const double f = padded(w.width), layers = w.n_layers, moments = padded(w.n_species * w.basis.size());
  const double numbers =
      f * (15 * layers - 4 + 4 + 5 * layers * rows_per_atom + 2 * (double) w.head.layers.size()) + 8 * moments;
  const double bytes = sizeof(PairGeometry<real>) + 2 * sizeof(int) + 4 * sizeof(real) + 6 * sizeof(double);
  const double inner = w.first_basis.cutoff > w.basis.cutoff ? std::pow(w.basis.cutoff / w.first_basis.cutoff, 3) : 0;
  return numbers * sizeof(real) + pairs_per_atom * (1 + inner) * bytes;
}

template struct PaiNN<float>::Impl;
template struct PaiNN<double>::Impl;
template class PaiNN<float>;
template class PaiNN<double>;

}  // namespace tlmd::engine
