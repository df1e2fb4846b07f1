// The tangent passes: forward over the layers and in reverse, beside the values that an evaluation keeps.
#include "engine/training.h"

#include "dense_gradients.h"
#include "filter_gradients.h"
#include "pair_gradients.h"
#include "species_gradients.h"

#include <cmath>

namespace tlmd::engine {

static const std::string VECTORS = "vectors";

template <class real> struct Training<real>::Impl {
  const Weights *weights;
  typename PaiNN<real>::Impl values;

  int n_layers, n_threads;
  // tangents, shapes as in PaiNN::Impl; changes (pairs, 4) of each sphere
  Buffer<real> changes[2];
  Buffer<real> scratch, state, adjoints, moment_sums, moment_adjoints;
  Moments<real> moments;
  std::vector<Buffer<real>> inputs, kept;
  std::vector<LayerStore<real>> stores;
  std::vector<double> energies;
  bool tangents_are_zero = false;  // those of the forward pass

  const double *seeds = nullptr, *vector_changes = nullptr;
  DenseGradients<real> dense;
  FilterGradients<real> filters;
  SpeciesGradients<real> species;
  PairGradients<real> pair_gradients[2];  // of each sphere
  bool species_wanted = false, vectors_wanted = false;
  int deepest = 0;  // stage of the reverse pass after which no gradient is wanted

  Impl(const Weights &w, const Options &o)
      : weights(&w), values(w, o, true), n_layers(w.n_layers), n_threads(o.n_threads), inputs(n_layers), kept(n_layers),
        stores(n_layers), dense(w, o.n_threads), filters(n_layers) {}

  void reserve();
  void choose(const Wanted &);
  void set_changes(const double *vector_changes);
  void forward(int n);
  void gradients();
  void put(const Wanted &, const Put &) const;
  size_t memory() const;

 private:
  // Stages of the reverse pass: of each layer from the last the gradients of what follows the update, of the update, of
  // the message and of the species.
  enum Part { LATER, UPDATE, MESSAGE };
  int stage(int l, Part part) const { return 3 * (n_layers - 1 - l) + part; }

  void start_pair_gradients();
  std::vector<real> vector_gradient() const;
  void message(int l, bool reverse);
  void update(int l, bool reverse);
  void moments_forward();
  void moments_back();
  void set_tangents_to_zero();
  void put_scale(const Put &) const;
};

template <class real> void Training<real>::Impl::reserve() {
  const size_t n = values.pairs->n_owned, f = values.width;
  for (int s = 0; s < values.n_spheres; s++) changes[s].reserve(4 * (size_t) values.spheres[s].size());
  scratch.reserve(train_scratch_size(values.width) * n_threads);
  state.reserve(values.n_blocks * values.state_block);
  adjoints.reserve(values.n_blocks * values.input_block);
  species.reserve(values.packed);
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

// What is wanted, and how deep the reverse pass goes for it.
template <class real> void Training<real>::Impl::choose(const Wanted &wanted) {
  deepest = -1;
  species_wanted = SpeciesGradients<real>::wanted(wanted);
  vectors_wanted = wanted(VECTORS);
  filters.choose(wanted);
  const bool products = values.by_moments && (species_wanted || filters.wanted(0));
  dense.choose(*weights, wanted, products ? moments.width : 0);
  for (int l = 0; l < n_layers; l++) {
    if (dense.later_wanted(l)) deepest = std::max(deepest, stage(l, LATER));
    if (dense.update_wanted(l)) deepest = std::max(deepest, stage(l, UPDATE));
    if (filters.wanted(l)) deepest = std::max(deepest, stage(l, MESSAGE));
  }
  if (species_wanted || vectors_wanted) deepest = stage(0, MESSAGE);
}

// Changes of the distances and unit vectors from those of the vectors, (pairs, 3) A.
template <class real> void Training<real>::Impl::set_changes(const double *vector_changes) {
  const double *vectors = values.pairs->vectors.data();
  in_shares((int) values.pairs->neighbour.size(), n_threads, [&](int first, int end, int) {
    for (int p = first; p < end; p++) {
      const double *r = vectors + 3 * (size_t) p, *t = vector_changes + 3 * (size_t) p;
      const double inverse = 1 / std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
      const double along = (r[0] * t[0] + r[1] * t[1] + r[2] * t[2]) * inverse;
      real *change = changes[0].data() + 4 * (size_t) p;
      change[0] = (real) along;
      for (int k = 0; k < 3; k++) change[1 + k] = (real) ((t[k] - r[k] * inverse * along) * inverse);
    }
  });
  const std::vector<int> &inner = values.spheres[1].index;
  for (size_t k = 0; k < inner.size(); k++)
    std::copy_n(changes[0].data() + 4 * (size_t) inner[k], 4, changes[1].data() + 4 * k);
}

template <class real> void Training<real>::Impl::start_pair_gradients() {
  for (int s = 0; s < values.n_spheres; s++) pair_gradients[s].start(values.spheres[s], n_threads, changes[s].data());
  if (!values.by_moments) return;
  const size_t rows = values.pairs->n_owned + SLACK;
  moments.scalar_adjoint = moment_adjoints.reserve(rows * 4 * moments.adjoint_pitch);
  moments.vector_adjoint = moments.scalar_adjoint + rows * moments.adjoint_pitch;
}

// Of the first n layers.
template <class real> void Training<real>::Impl::forward(int n) {
  std::fill_n(state.data(), values.n_blocks * values.state_block, real(0));
  tangents_are_zero = false;
  for (int l = 0; l < n; l++) {
    message(l, false);
    update(l, false);
  }
}

// The same where the pair vectors do not change.
template <class real> void Training<real>::Impl::set_tangents_to_zero() {
  for (auto *of_layers : {&inputs, &kept})
    for (auto &buffer : *of_layers)
      if (!tangents_are_zero) std::fill_n(buffer.data(), buffer.bytes() / sizeof(real), real(0));
  std::fill_n(moment_sums.data(), moment_sums.bytes() / sizeof(real), real(0));
  std::fill_n(state.data(), values.n_blocks * values.state_block, real(0));
  std::fill(energies.begin(), energies.end(), 0.0);
}

template <class real> void Training<real>::Impl::gradients() {
  if (vectors_wanted) start_pair_gradients();
  const real *begin = changes[0].data(), *end = begin + 4 * values.pairs->neighbour.size();
  const bool no_change = std::all_of(begin, end, [](real change) { return change == 0; });
  if (no_change)
    set_tangents_to_zero();
  else
    forward(n_layers);
  tangents_are_zero = no_change;
  for (int l = n_layers - 1; l >= 0; l--) {
    if (deepest >= stage(l, LATER)) update(l, true);
    if (deepest >= stage(l, MESSAGE)) message(l, true);
  }
}

template <class real> void Training<real>::Impl::message(int l, bool reverse) {
  if (l == 0 && values.by_moments) return reverse ? moments_back() : moments_forward();
  const size_t input_block = values.input_block, state_block = values.state_block;
  const size_t table_block = values.tables.block_size(l);
  const int s = values.sphere_index(l);
  const size_t adjoint_block = l == 0 ? species.block_size() : input_block;
  real *table_gradient = reverse ? filters.table(l, values.n_blocks * table_block) : nullptr;
  in_shares(values.n_blocks, n_threads, [&](int first, int end, int thread) {
    for (int b = first; b < end; b++) {
      TrainMessage<real> m;
      m.table = values.tables.block(l, b);
      m.changes = changes[s].data();
      if (l == 0)
        m.inputs.v = values.packed.phi_of_species(b);
      else
        m.inputs = {values.inputs[l].data() + b * input_block, inputs[l].data() + b * input_block};
      m.sums.t = state.data() + b * state_block;
      if (!reverse) {
        values.kernels.train_message_forward[l == 0](values.spheres[s].list, m);
        continue;
      }
      m.sums.v = values.state_adjoints_of(l) + b * state_block;
      m.adjoints = l == 0 ? species.block(b) : adjoints.data() + b * input_block;
      std::fill_n(m.adjoints, adjoint_block, real(0));
      if (table_gradient) {
        m.table_gradient = table_gradient + b * table_block;
        std::fill_n(m.table_gradient, table_block, real(0));
      }
      if (vectors_wanted) {
        m.slope_changes = pair_gradients[s].slope_changes();
        m.slopes = pair_gradients[s].slopes_of(thread);
      }
      values.kernels.train_message_backward[l == 0](values.spheres[s].list, m);
    }
  });
}

template <class real> void Training<real>::Impl::moments_forward() {
  const int n = values.pairs->n_owned;
  std::fill_n(moments.scalar, (size_t) (n + SLACK) * 4 * moments.pitch, real(0));
  in_shares(n, n_threads, [&](int first, int end, int) {
    values.kernels.train_moments_forward(values.spheres[0].list, moments, changes[0].data(), first, end);
  });
}

// The reverse pass is the update's, but for the vectors.
template <class real> void Training<real>::Impl::moments_back() {
  if (dense.moments_wanted()) {
    filters.from_moments(values.packed, dense);
    species.from_moments(values.packed, dense);
  }
  if (!vectors_wanted) return;
  in_shares(values.pairs->n_owned, n_threads, [&](int first, int end, int thread) {
    Dual<Moments<real>> of_thread = {values.moments, moments};
    of_thread.t.slopes = pair_gradients[0].slopes_of(thread);
    values.kernels.train_moments_backward(values.spheres[0].list, of_thread, changes[0].data(),
                                          pair_gradients[0].slope_changes(), first, end);
  });
}

template <class real> void Training<real>::Impl::update(int l, bool reverse) {
  TrainUpdate<real> u;
  u.width = values.width, u.n_atoms = values.pairs->n_owned, u.last = l == n_layers - 1;
  u.weights = &values.packed.layers[l];
  u.store = {values.stores[l], stores[l]};
  u.state = state.data();
  if (!u.last) {
    u.inputs = inputs[l + 1].data();
    u.adjoints = {values.adjoints_of(l + 1), adjoints.data()};
    u.state_adjoint_after = values.state_adjoints_of(l + 1);
  }
  if (l == 0 && values.by_moments) {
    u.moments = {&values.moments, &moments};
    u.state_adjoint_before = values.state_adjoints_of(0);
  }
  u.update_wanted = deepest >= stage(l, UPDATE);
  u.species = values.pairs->species.data();
  u.scale = values.packed.scale.data();
  u.seeds = seeds;
  u.energies_t = energies.data();
  in_tiles(u.n_atoms, n_threads, [&](int first, int count, int thread) {
    TrainUpdate<real> of_thread = u;
    if (reverse) of_thread.gradients = dense.of(l, thread);
    of_thread.scratch = scratch.data() + thread * train_scratch_size(values.width);
    (reverse ? values.kernels.train_update_backward : values.kernels.train_update_forward)(of_thread, first, count);
  });
}

template <class real> void Training<real>::Impl::put(const Wanted &wanted, const Put &put_any) const {
  const Put put = [&](const std::string &name, std::vector<real> gradient) {
    if (wanted(name)) put_any(name, std::move(gradient));
  };
  for (int l = 0; l < n_layers; l++) {
    dense.put(*weights, put, l);
    if (filters.wanted(l))
      filters.put(put, l, weights->width, values.sphere(l).table_basis, values.packed, values.kernels,
                  values.by_moments);
  }
  if (species_wanted) species.put(put, *weights, *values.pairs, state.data(), values.width);
  put_scale(put);
  if (!vectors_wanted) return;
  std::vector<real> gradient = vector_gradient();
  values.repulsion.add_gradients(*values.pairs, seeds, vector_changes, gradient);
  put(VECTORS, std::move(gradient));
}

// With respect to the pair vectors, (pairs, 3).
template <class real> std::vector<real> Training<real>::Impl::vector_gradient() const {
  std::vector<real> gradient = pair_gradients[0].vectors(values.spheres[0]);
  if (values.n_spheres == 1) return gradient;
  const std::vector<int> &inner = values.spheres[1].index;
  const std::vector<real> of_others = pair_gradients[1].vectors(values.spheres[1]);
  for (size_t k = 0; k < inner.size(); k++)
    for (int d = 0; d < 3; d++) gradient[3 * (size_t) inner[k] + d] += of_others[3 * k + d];
  return gradient;
}

template <class real> void Training<real>::Impl::put_scale(const Put &put) const {
  std::vector<real> scale(weights->n_species), reference(weights->n_species);
  for (int i = 0; i < values.pairs->n_owned; i++) {
    scale[values.pairs->species[i]] += (real) (seeds[i] * values.energies[i] + energies[i]);
    reference[values.pairs->species[i]] += (real) seeds[i];
  }
  put("scale", std::move(scale));
  put("reference", std::move(reference));
}

template <class real> size_t Training<real>::Impl::memory() const {
  size_t bytes = values.memory() + changes[0].bytes() + changes[1].bytes() + scratch.bytes() + state.bytes() +
                 adjoints.bytes() + moment_sums.bytes() + moment_adjoints.bytes() + dense.bytes() + filters.bytes() +
                 species.bytes() + pair_gradients[0].bytes() + pair_gradients[1].bytes();
  for (auto *of_layers : {&inputs, &kept})
    for (const auto &buffer : *of_layers) bytes += buffer.bytes();
  return bytes;
}

// The public class

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
  impl->seeds = seeds, impl->vector_changes = changes;
  impl->reserve();
  impl->choose(wanted);
  impl->set_changes(changes);
  impl->gradients();
  impl->put(wanted, put);
}

template <class real> void Training<real>::tangents(const double *changes, int n_layers) {
  impl->reserve();
  impl->set_changes(changes);
  impl->forward(n_layers);
}

template <class real> const real *Training<real>::features(int layer) const { return impl->values.stores[layer].q_out; }
template <class real> const real *Training<real>::feature_tangents(int layer) const {
  return impl->stores[layer].q_out;
}
template <class real> int Training<real>::feature_stride() const { return impl->values.width; }
template <class real> size_t Training<real>::memory() const { return impl->memory(); }

template class Training<float>;
template class Training<double>;

}  // namespace tlmd::engine
