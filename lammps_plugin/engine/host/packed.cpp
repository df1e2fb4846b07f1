#include "packed.h"

#include <cmath>

namespace tlmd::engine {

static Dense product(const Dense &a, const Dense &b) {
  Dense c(a.rows, b.columns);
  for (int i = 0; i < a.rows; i++)
    for (int k = 0; k < a.columns; k++)
      if (const double x = a.at(i, k); x != 0)
        for (int j = 0; j < b.columns; j++) c.at(i, j) += x * b.at(k, j);
  return c;
}

static Dense transposed(const Dense &a) {
  Dense t(a.columns, a.rows);
  for (int i = 0; i < a.rows; i++)
    for (int j = 0; j < a.columns; j++) t.at(j, i) = a.at(i, j);
  return t;
}

static std::vector<double> apply(const Linear &linear, const double *x, bool activate) {
  std::vector<double> y(linear.n_out);
  for (int o = 0; o < linear.n_out; o++) {
    y[o] = linear.bias[o];
    for (int i = 0; i < linear.n_in; i++) y[o] += linear.weight[(size_t) o * linear.n_in + i] * x[i];
    if (activate) y[o] /= 1 + std::exp(-y[o]);
  }
  return y;
}

template <class real> real *Packed<real>::place(size_t n) {
  if (used == store.size()) store.emplace_back();
  return store[used++].reserve(n);
}

// With zeros up to `size`.
template <class real> real *Packed<real>::keep(const std::vector<double> &values, size_t size) {
  real *p = place(size);
  std::copy(values.begin(), values.end(), p);
  return p;
}

// Panels of 2 lanes columns, row by row.
template <class real> Matrix<real> Packed<real>::keep(const Dense &m) {
  const int n = padded(m.columns), panel = 2 * lanes;
  real *packed = place((size_t) m.rows * n);
  for (int r = 0; r < m.rows; r++)
    for (int c = 0; c < m.columns; c++)
      packed[(size_t) (c / panel * m.rows + r) * panel + c % panel] = (real) m.at(r, c);
  return {packed, nullptr, m.rows, n};
}

template <class real> DenseLayer<real> Packed<real>::both_ways(const Dense &m) {
  const Matrix<real> forward = keep(m);
  return {forward, keep(transposed(m))};
}

template <class real> DenseLayer<real> Packed<real>::both_ways(const Linear &linear, const Layout &layout) {
  const int rows = layout.rows(linear), columns = layout.columns(linear), panel = 2 * lanes;
  real *forward = place((size_t) rows * columns), *reverse = place((size_t) rows * columns), *bias = nullptr;
  for_weights(linear, layout, [&](int r, int c, size_t at, int n) {
    real *down = forward + (size_t) (c / panel * rows + r) * panel + c % panel;
    for (int start = 0; start < n; start += panel) {
      real *along = reverse + (size_t) ((r + start) / panel * columns + c) * panel;
      const int count = std::min(n - start, panel);
      std::copy_n(&linear.weight[at + start], count, along);
      for (int k = 0; k < count; k++) down[(start + k) * panel] = along[k];
    }
  });
  if (!linear.bias.empty()) {
    bias = place(columns);
    for_biases(linear, layout, [&](int c, int at) { bias[c] = (real) linear.bias[at]; });
  }
  return {{forward, bias, rows, columns}, {reverse, nullptr, columns, rows}};
}

template <class real>
Packed<real>::Packed(const Weights &w, int lanes, bool moments, bool folded)
    : width(padded(w.width)), lanes(lanes), n_species(w.n_species), n_basis(w.basis.size()), n_layers(w.n_layers),
      layers(w.n_layers), embedding((size_t) w.n_species * width), moments(moments), folded(folded),
      species_phi((size_t) w.n_species * 2 * width),
      filters(w.n_layers, std::vector<double>((size_t) n_basis * 3 * width)) {
  set(w);
}

template <class real> void Packed<real>::set(const Weights &w) {
  used = 0;
  scale.assign(w.scale.begin(), w.scale.end());
  set_phi_of_species(w);
  for (int l = 0; l < n_layers; l++) set_layer(w, l);
  if (moments) fold_first_layer(w, layers[0]);
  if (!w.head.layers.empty()) set_head(w.head);
}

template <class real> void Packed<real>::set_phi_of_species(const Weights &w) {
  const int f = w.width;
  for (int z = 0; z < n_species; z++) {
    const double *q = &w.embedding[(size_t) z * f];
    const auto phi = apply(w.layers[0].phi2, apply(w.layers[0].phi0, q, true).data(), false);
    for (int c = 0; c < f; c++) {
      embedding[(size_t) z * width + c] = (real) q[c];
      for (int part = 0; part < 2; part++)
        species_phi[(((size_t) c / lanes * n_species + z) * 2 + part) * lanes + c % lanes] = (real) phi[part * f + c];
    }
  }
}

template <class real> void Packed<real>::set_layer(const Weights &w, int l) {
  LayerWeights<real> &p = layers[l];
  const Weights::Layer &layer = w.layers[l];
  const bool last = l == n_layers - 1;
  p.epsilon2 = (real) (w.norm_epsilon * w.norm_epsilon);
  set_filter(layer, w.width, filters[l]);
  p.VU = both_ways(layer.VU, VU_layout());
  p.a0 = both_ways(layer.a0, a0_layout());
  p.a2 = both_ways(layer.a2, a2_layout(last));
  p.phi0 = both_ways(last ? w.energy0 : w.layers[l + 1].phi0, {});
  if (last) {
    p.energy = keep(w.energy2.weight, p.phi0.forward.n);
    p.energy_bias = w.energy2.bias[0];
  } else {
    p.phi2 = both_ways(w.layers[l + 1].phi2, phi2_layout());
  }
}

template <class real> void Packed<real>::set_filter(const Weights::Layer &layer, int f, std::vector<double> &filter) {
  const int n_radial = n_basis - 1;
  for (int part = 0; part < 3; part++)
    for (int c = 0; c < f; c++) {
      const double *row = &layer.filter.weight[(size_t) (part * f + c) * n_radial];
      double *column = &filter[((size_t) (c / lanes) * n_basis * 3 + part) * lanes + c % lanes];
      for (int k = 0; k < n_basis; k++) column[k * 3 * lanes] = k < n_radial ? row[k] : layer.filter.bias[part * f + c];
    }
}

// Layer 1's filter times what a neighbour of each species sends: moments to q and mu, and further to V mu and U mu.
template <class real> void Packed<real>::fold_first_layer(const Weights &w, LayerWeights<real> &p) {
  Dense q(n_species * n_basis, width), mu(n_species * n_basis, width);
  for (int z = 0; z < n_species; z++)
    for (int k = 0; k < n_basis; k++)
      for (int c = 0; c < w.width; c++) {
        const int block = c / lanes, lane = c % lanes;
        const real *phi = phi_of_species(block) + z * 2 * lanes + lane;
        const double *filter = this->filter(0, block) + k * 3 * lanes + lane;
        q.at(z * n_basis + k, c) = filter[0] * phi[0];
        mu.at(z * n_basis + k, c) = filter[lanes] * phi[lanes];
      }
  p.moments_q = both_ways(q);
  p.moments_mu = both_ways(mu);
  if (!folded) return;
  Dense VU(width, 2 * width);
  for_weights(w.layers[0].VU, VU_layout(), [&](int r, int c, size_t at, int n) {
    for (int k = 0; k < n; k++) VU.at(r + k, c) = w.layers[0].VU.weight[at + k];
  });
  p.moments_VU = both_ways(product(mu, VU));
}

// Channels of each layer and functions are padded: with zeros, which add nothing.
template <class real> void Packed<real>::set_head(const Head &of_model) {
  const int parts = (int) of_model.layers.size(), n_in = parts * width, n = (int) of_model.bias.size();
  const int f = (int) of_model.shift.size() / (n_species * parts);
  head.function = of_model.function, head.parameter = (real) of_model.parameter;
  head.width = width, head.n_layers = parts, head.n_out = of_model.function == LINEAR ? n_in : padded(n);
  head.n_weights = of_model.function == FOURIER ? 2 * head.n_out : head.n_out;
  std::vector<double> shift((size_t) n_species * n_in), factor(shift);
  Dense points(n_in, padded(n));
  for (int part = 0; part < parts; part++)
    for (int c = 0; c < f; c++) {
      const size_t from = (size_t) part * f + c, to = (size_t) part * width + c;
      for (int z = 0; z < n_species; z++) {
        shift[(size_t) z * n_in + to] = of_model.shift[(size_t) z * parts * f + from];
        factor[(size_t) z * n_in + to] = of_model.factor[(size_t) z * parts * f + from];
      }
      for (int d = 0; d < n; d++) points.at((int) to, d) = of_model.points[(size_t) d * parts * f + from];
    }
  head.shift = keep(shift, shift.size());
  head.factor = keep(factor, factor.size());
  if (of_model.function != LINEAR) {
    head.points = both_ways(points);
    head.points.forward.bias = keep(of_model.bias, head.n_out);
  }
  set_head_weights(of_model.weights);
}

template <class real> void Packed<real>::set_head_weights(const std::vector<double> &weights) {
  head_weights.assign((size_t) n_species * head.n_weights, real(0));
  const int n = (int) weights.size() / n_species;
  const int parts = head.function == LINEAR ? head.n_layers : head.n_weights / head.n_out;
  const int width_of_part = n / parts, pitch = head.n_weights / parts;
  for (int z = 0; z < n_species; z++)
    for (int d = 0; d < n; d++)
      head_weights[(size_t) z * head.n_weights + d / width_of_part * pitch + d % width_of_part] =
          (real) weights[(size_t) z * n + d];
  head.weights = head_weights.data();
}

template <class real> void Packed<real>::start(const Pairs &pairs, real *state) const {
  for (int c = 0; c < width; c += lanes)
    for (int i = 0; i < pairs.n_owned; i++, state += 4 * lanes) {
      const real *q = &embedding[(size_t) pairs.species[i] * width + c];
      for (int lane = 0; lane < lanes; lane++) state[lane] += q[lane];
    }
}

template class Packed<float>;
template class Packed<double>;

}  // namespace tlmd::engine
