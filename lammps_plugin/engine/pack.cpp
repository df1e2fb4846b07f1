#include "pack.h"

#include <algorithm>
#include <cmath>

namespace tlmd::engine {

Dense product(const Dense &a, const Dense &b) {
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

// The matrix (in, out) of a layer whose inputs and outputs are `in_parts` and `n_out_parts` parts of equal width: each
// part padded, of the output those parts that `out_parts` names.
static Dense padded_matrix(const Linear &linear, int in_parts, const std::vector<int> &out_parts, int n_out_parts) {
  const int in = linear.n_in / in_parts, out = linear.n_out / n_out_parts, in_pad = padded(in), out_pad = padded(out);
  Dense m(in_parts * in_pad, (int) out_parts.size() * out_pad);
  for (size_t p = 0; p < out_parts.size(); p++)
    for (int o = 0; o < out; o++)
      for (int q = 0; q < in_parts; q++)
        for (int i = 0; i < in; i++)
          m.at(q * in_pad + i, (int) p * out_pad + o) =
              linear.weight[(size_t) (out_parts[p] * out + o) * linear.n_in + q * in + i];
  return m;
}

static std::vector<double> padded_bias(const Linear &linear, const std::vector<int> &out_parts, int n_out_parts) {
  if (linear.bias.empty()) return {};
  const int out = linear.n_out / n_out_parts, out_pad = padded(out);
  std::vector<double> bias(out_parts.size() * out_pad);
  for (size_t p = 0; p < out_parts.size(); p++)
    std::copy_n(&linear.bias[(size_t) out_parts[p] * out], out, &bias[p * out_pad]);
  return bias;
}

template <class real> real *Packed<real>::keep(const std::vector<double> &values) {
  real *p = store.emplace_back().reserve(values.size());
  std::copy(values.begin(), values.end(), p);
  return p;
}

// Panels of 2 lanes columns, row by row.
template <class real> Matrix<real> Packed<real>::keep(const Dense &m, const std::vector<double> &bias) {
  const int n = padded(m.columns), panel = 2 * lanes;
  std::vector<double> packed((size_t) m.rows * n), full_bias(bias);
  for (int c = 0; c < n; c++)
    for (int r = 0; r < m.rows; r++)
      if (c < m.columns) packed[(size_t) (c / panel * m.rows + r) * panel + c % panel] = m.at(r, c);
  full_bias.resize(bias.empty() ? 0 : n);
  return {keep(packed), bias.empty() ? nullptr : keep(full_bias), m.rows, n};
}

template <class real>
void Packed<real>::both_ways(const Linear &linear, int in_parts, const std::vector<int> &out_parts, int n_out_parts,
                             Matrix<real> &there, Matrix<real> &back) {
  const Dense m = padded_matrix(linear, in_parts, out_parts, n_out_parts);
  there = keep(m, padded_bias(linear, out_parts, n_out_parts));
  back = keep(transposed(m));
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

template <class real> Packed<real>::Packed(const Weights &w, int lanes, bool moments) : lanes(lanes) {
  const int f = w.width, n_basis = w.basis.size();
  width = padded(f);
  scale.assign(w.scale.begin(), w.scale.end());
  for (const auto &layer : w.layers) {
    Dense filter(n_basis, 3 * width);
    for (int part = 0; part < 3; part++)
      for (int c = 0; c < f; c++) {
        const double *row = &layer.filter.weight[(size_t) (part * f + c) * w.basis.n_radial()];
        for (int k = 0; k < w.basis.n_radial(); k++) filter.at(k, part * width + c) = row[k];
        filter.at(n_basis - 1, part * width + c) = layer.filter.bias[part * f + c];
      }
    filters.push_back(filter);
  }
  for (int z = 0; z < w.n_species; z++) {
    const double *q = &w.embedding[(size_t) z * f];
    const auto phi = apply(w.layers[0].context2, apply(w.layers[0].context0, q, true).data(), false);
    for (int c = 0; c < width; c++) embedding.push_back(c < f ? q[c] : 0);
    for (int part = 0; part < 2; part++)
      for (int c = 0; c < width; c++) species_inputs.push_back(c < f ? phi[part * f + c] : 0);
  }
  for (int l = 0; l < w.n_layers; l++) {
    LayerWeights<real> &p = layers.emplace_back();
    const Weights::Layer &layer = w.layers[l];
    const bool last = l == w.n_layers - 1;
    both_ways(layer.mix, 1, {0, 1}, 2, p.mix, p.mix_t);
    both_ways(layer.update0, 2, {0}, 1, p.update0, p.update0_t);
    both_ways(layer.update2, 1, last ? std::vector<int>{0, 2} : std::vector<int>{0, 1, 2}, 3, p.update2, p.update2_t);
    if (last) {
      both_ways(w.energy0, 1, {0}, 1, p.context0, p.context0_t);
      std::vector<double> energy(w.energy2.weight);
      energy.resize(p.context0.n);
      p.energy = keep(energy);
      p.energy_bias = w.energy2.bias[0];
    } else {
      both_ways(w.layers[l + 1].context0, 1, {0}, 1, p.context0, p.context0_t);
      both_ways(w.layers[l + 1].context2, 1, {0, 1, 2}, 3, p.context2, p.context2_t);
    }
  }
  if (moments) fold_first_layer(w, layers[0]);
}

// Layer 1's filter times what a neighbour of each species sends: moments to sums, and through the mixing to V and U.
template <class real> void Packed<real>::fold_first_layer(const Weights &w, LayerWeights<real> &p) {
  const int n_basis = w.basis.size();
  Dense scalar(w.n_species * n_basis, width), vector(w.n_species * n_basis, width);
  for (int z = 0; z < w.n_species; z++)
    for (int k = 0; k < n_basis; k++)
      for (int c = 0; c < w.width; c++) {
        const auto inputs = species_inputs.begin() + (size_t) z * 2 * width + c;
        scalar.at(z * n_basis + k, c) = filters[0].at(k, c) * inputs[0];
        vector.at(z * n_basis + k, c) = filters[0].at(k, width + c) * inputs[width];
      }
  const Dense folded = product(vector, padded_matrix(w.layers[0].mix, 1, {0, 1}, 2));
  p.scalar = keep(scalar);
  p.vector = keep(vector);
  p.folded = keep(folded);
  p.scalar_t = keep(transposed(scalar));
  p.vector_t = keep(transposed(vector));
  p.folded_t = keep(transposed(folded));
}

template <class real> void Packed<real>::start(const Pairs &pairs, real *state, real *inputs) const {
  for (int c = 0; c < width; c++) {
    const size_t block = c / lanes, lane = c % lanes;
    for (int i = 0; i < pairs.n_owned; i++)
      state[(block * pairs.n_owned + i) * 4 * lanes + lane] += embedding[(size_t) pairs.species[i] * width + c];
    for (int j = 0; j < pairs.n_rows; j++)
      for (int part = 0; part < 2; part++)
        inputs[((block * pairs.n_rows + j) * 5 + part) * lanes + lane] +=
            species_inputs[((size_t) pairs.species[j] * 2 + part) * width + c];
  }
}

template class Packed<float>;
template class Packed<double>;

}  // namespace tlmd::engine
