// Sums over neighbours, eqs. 7 and 8 of the PaiNN paper, one channel block at a time. Filters come from a table of
// quintic splines; each pair of two owned atoms is visited once and serves both.
//
//   q_i  += W_s phi_s(j)        mu_i += W_vs phi_vs(j) u_ij + W_vv phi_vv(j) mu_j
//
// `first_layer`: phi follows from the species alone and mu is zero.
#ifndef TLMD_ENGINE_MESSAGE_H
#define TLMD_ENGINE_MESSAGE_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> struct Filter {  // W_s, W_vs, W_vv of a pair, or their adjoints
  vec<real> s{}, vs{}, vv{};
};

template <class real> struct Inputs {  // phi_s, phi_vs and the components of phi_vv mu of a row, or their adjoints
  vec<real> s{}, vs{}, x{}, y{}, z{};

  Inputs() = default;
  explicit inline Inputs(const real *p) {
    constexpr int n = lanes<real>;
    s = load(p), vs = load(p + n), x = load(p + 2 * n), y = load(p + 3 * n), z = load(p + 4 * n);
  }
  inline void add_to_row(real *p) const {
    constexpr int n = lanes<real>;
    add_to(p, s), add_to(p + n, vs), add_to(p + 2 * n, x), add_to(p + 3 * n, y), add_to(p + 4 * n, z);
  }
  inline void put(real *p) const {
    constexpr int n = lanes<real>;
    store(p, s), store(p + n, vs), store(p + 2 * n, x), store(p + 3 * n, y), store(p + 4 * n, z);
  }
};

// Those of row j.
template <bool first_layer, class real>
static inline Inputs<real> inputs_of(const PairList<real> &pairs, const real *inputs, size_t j) {
  constexpr int n = lanes<real>;
  if constexpr (!first_layer) return Inputs<real>(inputs + j * 5 * n);
  const real *row = inputs + (size_t) pairs.species[j] * 2 * n;
  Inputs<real> phi;
  phi.s = load(row), phi.vs = load(row + n);
  return phi;
}

template <class real> struct Sums {  // q and the components of mu of an atom, or their adjoints
  vec<real> q{}, x{}, y{}, z{};

  Sums() = default;
  explicit inline Sums(const real *p) {
    constexpr int n = lanes<real>;
    q = load(p), x = load(p + n), y = load(p + 2 * n), z = load(p + 3 * n);
  }
  inline void add_to_row(real *p) const {
    constexpr int n = lanes<real>;
    add_to(p, q), add_to(p + n, x), add_to(p + 2 * n, y), add_to(p + 3 * n, z);
  }
  inline void put(real *p) const {
    constexpr int n = lanes<real>;
    store(p, q), store(p + n, x), store(p + 2 * n, y), store(p + 3 * n, z);
  }
  // what a neighbour's inputs send along the unit vector u
  template <bool first_layer>
  inline void receive(const Filter<real> &W, const Inputs<real> &phi, real ux, real uy, real uz) {
    const vec<real> sent = W.vs * phi.vs;
    q += W.s * phi.s;
    x += sent * ux, y += sent * uy, z += sent * uz;
    if constexpr (!first_layer) x += W.vv * phi.x, y += W.vv * phi.y, z += W.vv * phi.z;
  }
};

template <bool first_layer, class real>
static void message_forward(const PairList<real> &the_pairs, const Message<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Message<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Inputs<real> phi_i = inputs_of<first_layer>(pairs, m.inputs, i);
    Sums<real> sums_i;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *row = m.table + (size_t) pairs.bin[p] * 3 * n, *u = geometry.unit;
      Filter<real> W;
#pragma GCC unroll 6
      for (int k = 0; k < SPLINE_WEIGHTS; k++, row += 3 * n) {
        W.s += geometry.value[k] * load(row), W.vs += geometry.value[k] * load(row + n);
        if constexpr (!first_layer) W.vv += geometry.value[k] * load(row + 2 * n);
      }
      const size_t j = pairs.neighbour[p];
      sums_i.template receive<first_layer>(W, inputs_of<first_layer>(pairs, m.inputs, j), u[0], u[1], u[2]);
      if (p >= pairs.directed[i]) continue;
      Sums<real> sums_j(m.sums + j * 4 * n);
      sums_j.template receive<first_layer>(W, phi_i, -u[0], -u[1], -u[2]);
      sums_j.put(m.sums + j * 4 * n);
    }
    sums_i.add_to_row(m.sums + (size_t) i * 4 * n);
  }
}

// Filters of a pair and their slopes with the distance, by their spline weights.
template <bool first_layer, class real>
static inline void filters(const real *values, const real *slopes, const real *row, Filter<real> &W, Filter<real> &dW) {
  constexpr int n = lanes<real>;
#pragma GCC unroll 6
  for (int k = 0; k < SPLINE_WEIGHTS; k++, row += 3 * n) {
    const vec<real> s = load(row), vs = load(row + n);
    const real value = values[k], slope = slopes[k];
    W.s += value * s, W.vs += value * vs;
    dW.s += slope * s, dW.vs += slope * vs;
    if constexpr (first_layer) continue;
    const vec<real> vv = load(row + 2 * n);
    W.vv += value * vv, dW.vv += slope * vv;
  }
}

// h: adjoints of the sums, x: adjoints of the filters, both directions of a pair together.
template <bool first_layer, class real>
static void message_backward(const PairList<real> &the_pairs, const Message<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Message<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Inputs<real> phi_i = inputs_of<first_layer>(pairs, m.inputs, i);
    const Sums<real> h_i(m.sums + (size_t) i * 4 * n);
    Inputs<real> adjoint_i;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *u = geometry.unit;
      Filter<real> W, dW, x;
      filters<first_layer>(geometry.value, geometry.slope, m.table + (size_t) pairs.bin[p] * 3 * n, W, dW);
      const size_t j = pairs.neighbour[p];
      const Inputs<real> phi_j = inputs_of<first_layer>(pairs, m.inputs, j);
      const vec<real> along_i = u[0] * h_i.x + u[1] * h_i.y + u[2] * h_i.z, sent_j = W.vs * phi_j.vs;
      x.s = phi_j.s * h_i.q, x.vs = phi_j.vs * along_i;
      vec<real> ux = sent_j * h_i.x, uy = sent_j * h_i.y, uz = sent_j * h_i.z;  // dE/du
      if constexpr (!first_layer) {
        x.vv = phi_j.x * h_i.x + phi_j.y * h_i.y + phi_j.z * h_i.z;
        Inputs<real> adjoint_j(m.adjoints + j * 5 * n);
        adjoint_j.s += W.s * h_i.q, adjoint_j.vs += W.vs * along_i;
        adjoint_j.x += W.vv * h_i.x, adjoint_j.y += W.vv * h_i.y, adjoint_j.z += W.vv * h_i.z;
        adjoint_j.put(m.adjoints + j * 5 * n);
      }
      if (p < pairs.directed[i]) {
        const Sums<real> h_j(m.sums + j * 4 * n);
        const vec<real> along_j = u[0] * h_j.x + u[1] * h_j.y + u[2] * h_j.z, sent_i = W.vs * phi_i.vs;
        x.s += phi_i.s * h_j.q, x.vs -= phi_i.vs * along_j;
        ux -= sent_i * h_j.x, uy -= sent_i * h_j.y, uz -= sent_i * h_j.z;
        if constexpr (!first_layer) {
          x.vv += phi_i.x * h_j.x + phi_i.y * h_j.y + phi_i.z * h_j.z;
          adjoint_i.s += W.s * h_j.q, adjoint_i.vs -= W.vs * along_j;
          adjoint_i.x += W.vv * h_j.x, adjoint_i.y += W.vv * h_j.y, adjoint_i.z += W.vv * h_j.z;
        }
      }
      vec<real> slope = dW.s * x.s + dW.vs * x.vs;  // dE/dd
      if constexpr (!first_layer) slope += dW.vv * x.vv;
      add_sums<real>(m.slopes + 4 * (size_t) p, slope, ux, uy, uz);
    }
    if constexpr (!first_layer) adjoint_i.add_to_row(m.adjoints + (size_t) i * 5 * n);
  }
}

// The adjoints that the sums send back to the inputs of their neighbours, times -r_ij, for each component of the heat
// flux. Pairs are directed.
template <class real> static void message_flux(const PairList<real> &the_pairs, const MessageFlux<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const MessageFlux<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Sums<real> h(m.sums + (size_t) i * 4 * n);
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *u = geometry.unit, *table = m.table + (size_t) pairs.bin[p] * 3 * n;
      Filter<real> W, dW;
      filters<false>(geometry.value, geometry.slope, table, W, dW);
      const vec<real> back[5] = {W.s * h.q, W.vs * (u[0] * h.x + u[1] * h.y + u[2] * h.z), W.vv * h.x, W.vv * h.y,
                                 W.vv * h.z};
      for (int a = 0; a < 3; a++) {
        const real minus_r = -u[a] / geometry.inverse;
        real *row = m.adjoints[a] + (size_t) pairs.neighbour[p] * 5 * n;
        for (int k = 0; k < 5; k++) add_to(row + k * n, minus_r * back[k]);
      }
    }
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
