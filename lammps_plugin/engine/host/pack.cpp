#include "pack.h"

#include <algorithm>
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

// Calls f(row, column, index in PyTorch's weight) for runs of rows in squares that stay in cache: f(r, c, at, n) for
// rows r .. r+n-1, whose weights are at .. at+n-1. No run crosses a multiple of PAD rows.
template <class F> static void for_weights(const Linear &linear, const Layout &layout, const F &f) {
  const int in = linear.n_in / layout.in_parts, out = linear.n_out / layout.n_out_parts;
  for (size_t p = 0; p < layout.out_parts.size(); p++)
    for (int o0 = 0; o0 < out; o0 += PAD)
      for (int q = 0; q < layout.in_parts; q++)
        for (int i = 0; i < in; i += PAD)
          for (int o = o0; o < std::min(out, o0 + PAD); o++)
            f(q * padded(in) + i, (int) p * padded(out) + o,
              (size_t) (layout.out_parts[p] * out + o) * linear.n_in + q * in + i, std::min(PAD, in - i));
}

// The same for biases: f(column, index).
template <class F> static void for_biases(const Linear &linear, const Layout &layout, const F &f) {
  const int out = linear.n_out / layout.n_out_parts;
  for (size_t p = 0; p < layout.out_parts.size(); p++)
    for (int o = 0; o < out; o++) f((int) p * padded(out) + o, layout.out_parts[p] * out + o);
}

template <class real>
std::vector<real> unpacked_weight(const Linear &linear, const Layout &layout, const std::vector<const real *> &sums) {
  const int n = layout.columns(linear);
  std::vector<real> weight((size_t) linear.n_out * linear.n_in);
  for_weights(linear, layout, [&](int r, int c, size_t at, int count) {
    for (const real *sum : sums)
      for (int k = 0; k < count; k++) weight[at + k] += sum[(size_t) (r + k) * n + c];
  });
  return weight;
}

template <class real>
std::vector<real> unpacked_bias(const Linear &linear, const Layout &layout, const std::vector<const real *> &sums) {
  std::vector<real> bias(linear.n_out);
  for_biases(linear, layout, [&](int c, int at) {
    for (const real *sum : sums) bias[at] += sum[c];
  });
  return bias;
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

template <class real>
void Packed<real>::both_ways(const Linear &linear, const Layout &layout, Matrix<real> &there, Matrix<real> &back) {
  const int rows = layout.rows(linear), columns = layout.columns(linear), panel = 2 * lanes;
  real *a = place((size_t) rows * columns), *b = place((size_t) rows * columns), *bias = nullptr;
  for_weights(linear, layout, [&](int r, int c, size_t at, int n) {
    real *down = a + (size_t) (c / panel * rows + r) * panel + c % panel;
    for (int start = 0; start < n; start += panel) {
      real *along = b + (size_t) ((r + start) / panel * columns + c) * panel;
      const int count = std::min(n - start, panel);
      std::copy_n(&linear.weight[at + start], count, along);
      for (int k = 0; k < count; k++) down[(start + k) * panel] = along[k];
    }
  });
  if (!linear.bias.empty()) {
    bias = place(columns);
    for_biases(linear, layout, [&](int c, int at) { bias[c] = (real) linear.bias[at]; });
  }
  there = {a, bias, rows, columns};
  back = {b, nullptr, columns, rows};
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

template <class real>
Packed<real>::Packed(const Weights &w, int lanes, bool moments, bool folded)
    : width(padded(w.width)), lanes(lanes), n_species(w.n_species), n_basis(w.basis.size()), n_layers(w.n_layers),
      layers(w.n_layers), embedding((size_t) w.n_species * width), species_inputs((size_t) w.n_species * 2 * width),
      filters(w.n_layers, std::vector<double>((size_t) n_basis * 3 * width)), moments(moments), folded(folded) {
  set(w);
}

template <class real> void Packed<real>::set(const Weights &w) {
  const int f = w.width;
  used = 0;
  scale.assign(w.scale.begin(), w.scale.end());
  for (int z = 0; z < n_species; z++) {
    const double *q = &w.embedding[(size_t) z * f];
    const auto phi = apply(w.layers[0].context2, apply(w.layers[0].context0, q, true).data(), false);
    for (int c = 0; c < f; c++) {
      embedding[(size_t) z * width + c] = (real) q[c];
      for (int part = 0; part < 2; part++)
        species_inputs[(((size_t) c / lanes * n_species + z) * 2 + part) * lanes + c % lanes] =
            (real) phi[part * f + c];
    }
  }
  for (int l = 0; l < n_layers; l++) {
    LayerWeights<real> &p = layers[l];
    const Weights::Layer &layer = w.layers[l];
    const bool last = l == n_layers - 1;
    p.epsilon2 = (real) (w.norm_epsilon * w.norm_epsilon);
    set_filter(layer, f, filters[l]);
    both_ways(layer.mix, mix_layout(), p.mix, p.mix_t);
    both_ways(layer.update0, update0_layout(), p.update0, p.update0_t);
    both_ways(layer.update2, update2_layout(last), p.update2, p.update2_t);
    if (last) {
      both_ways(w.energy0, {}, p.context0, p.context0_t);
      p.energy = keep(w.energy2.weight, p.context0.n);
      p.energy_bias = w.energy2.bias[0];
    } else {
      both_ways(w.layers[l + 1].context0, {}, p.context0, p.context0_t);
      both_ways(w.layers[l + 1].context2, context2_layout(), p.context2, p.context2_t);
    }
  }
  if (moments) fold_first_layer(w, layers[0]);
  if (!w.head.layers.empty()) set_head(w.head);
}

// Channels of each layer and functions are padded: with zeros, which add nothing.
template <class real> void Packed<real>::set_head(const Head &given) {
  const int parts = (int) given.layers.size(), n_in = parts * width, n = (int) given.bias.size();
  const int f = (int) given.shift.size() / (n_species * parts);
  head.function = given.function, head.parameter = (real) given.parameter;
  head.width = width, head.n_layers = parts, head.n_out = given.function == LINEAR ? n_in : padded(n);
  head.n_weights = given.function == FOURIER ? 2 * head.n_out : head.n_out;
  std::vector<double> shift((size_t) n_species * n_in), factor(shift);
  Dense points(n_in, padded(n));
  for (int part = 0; part < parts; part++)
    for (int c = 0; c < f; c++) {
      const size_t from = (size_t) part * f + c, to = (size_t) part * width + c;
      for (int z = 0; z < n_species; z++) {
        shift[(size_t) z * n_in + to] = given.shift[(size_t) z * parts * f + from];
        factor[(size_t) z * n_in + to] = given.factor[(size_t) z * parts * f + from];
      }
      for (int d = 0; d < n; d++) points.at((int) to, d) = given.points[(size_t) d * parts * f + from];
    }
  head.shift = keep(shift, shift.size());
  head.factor = keep(factor, factor.size());
  if (given.function != LINEAR) {
    head.there = keep(points);
    head.there.bias = keep(given.bias, head.n_out);
    head.back = keep(transposed(points));
  }
  set_head_weights(given.weights);
}

template <class real> void Packed<real>::set_head_weights(const std::vector<double> &given) {
  head_weights.assign((size_t) n_species * head.n_weights, real(0));
  const int n = (int) given.size() / n_species;
  const int parts = head.function == LINEAR ? head.n_layers : head.n_weights / head.n_out;
  const int own = n / parts, pitch = head.n_weights / parts;
  for (int z = 0; z < n_species; z++)
    for (int d = 0; d < n; d++)
      head_weights[(size_t) z * head.n_weights + d / own * pitch + d % own] = (real) given[(size_t) z * n + d];
  head.weights = head_weights.data();
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

// Layer 1's filter times what a neighbour of each species sends: moments to sums, and through the mixing to V and U.
template <class real> void Packed<real>::fold_first_layer(const Weights &w, LayerWeights<real> &p) {
  Dense scalar(n_species * n_basis, width), vector(n_species * n_basis, width);
  for (int z = 0; z < n_species; z++)
    for (int k = 0; k < n_basis; k++)
      for (int c = 0; c < w.width; c++) {
        const int block = c / lanes, lane = c % lanes;
        const real *inputs = inputs_of_species(block) + z * 2 * lanes + lane;
        const double *filter = this->filter(0, block) + k * 3 * lanes + lane;
        scalar.at(z * n_basis + k, c) = filter[0] * inputs[0];
        vector.at(z * n_basis + k, c) = filter[lanes] * inputs[lanes];
      }
  p.scalar = keep(scalar);
  p.vector = keep(vector);
  p.scalar_t = keep(transposed(scalar));
  p.vector_t = keep(transposed(vector));
  if (!folded) return;
  Dense mix(width, 2 * width);
  for_weights(w.layers[0].mix, mix_layout(), [&](int r, int c, size_t at, int n) {
    for (int k = 0; k < n; k++) mix.at(r + k, c) = w.layers[0].mix.weight[at + k];
  });
  const Dense through = product(vector, mix);
  p.folded = keep(through);
  p.folded_t = keep(transposed(through));
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
template std::vector<float> unpacked_weight(const Linear &, const Layout &, const std::vector<const float *> &);
template std::vector<double> unpacked_weight(const Linear &, const Layout &, const std::vector<const double *> &);
template std::vector<float> unpacked_bias(const Linear &, const Layout &, const std::vector<const float *> &);
template std::vector<double> unpacked_bias(const Linear &, const Layout &, const std::vector<const double *> &);

}  // namespace tlmd::engine
