// Sums over neighbours, eqs. 7 and 8 of the PaiNN paper, one channel block at a time. Filters come from a table of
// quintic splines; each pair of two owned atoms is visited once and serves both.
#ifndef TLMD_ENGINE_MESSAGE_H
#define TLMD_ENGINE_MESSAGE_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

// In all of them `first` says layer 1: inputs S and T follow from the species alone and there are no vectors.
template <class real> struct Filter {
  vec<real> s{}, t{}, g{};
};

template <class real> struct Inputs {  // S, T, g of a row, or their adjoints
  vec<real> s{}, t{}, x{}, y{}, z{};

  Inputs() = default;
  explicit inline Inputs(const real *p) {
    constexpr int n = lanes<real>;
    s = load(p), t = load(p + n), x = load(p + 2 * n), y = load(p + 3 * n), z = load(p + 4 * n);
  }
  inline void add_to_row(real *p) const {
    constexpr int n = lanes<real>;
    add_to(p, s), add_to(p + n, t), add_to(p + 2 * n, x), add_to(p + 3 * n, y), add_to(p + 4 * n, z);
  }
  inline void put(real *p) const {
    constexpr int n = lanes<real>;
    store(p, s), store(p + n, t), store(p + 2 * n, x), store(p + 3 * n, y), store(p + 4 * n, z);
  }
};

// Those of row j.
template <bool first, class real>
static inline Inputs<real> inputs_of(const PairList<real> &pairs, const real *inputs, size_t j) {
  constexpr int n = lanes<real>;
  if constexpr (!first) return Inputs<real>(inputs + j * 5 * n);
  const real *row = inputs + (size_t) pairs.species[j] * 2 * n;
  Inputs<real> x;
  x.s = load(row), x.t = load(row + n);
  return x;
}

template <class real> struct Sums {  // q, mu of an atom, or their adjoints
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
  template <bool first>
  inline void receive(const Filter<real> &w, const Inputs<real> &from, real ux, real uy, real uz) {
    const vec<real> wt = w.t * from.t;
    q += w.s * from.s;
    x += wt * ux, y += wt * uy, z += wt * uz;
    if constexpr (!first) x += w.g * from.x, y += w.g * from.y, z += w.g * from.z;
  }
};

template <bool first, class real>
static void message_forward(const PairList<real> &the_pairs, const Message<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Message<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Inputs<real> here = inputs_of<first>(pairs, m.inputs, i);
    Sums<real> sums;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *row = m.table + (size_t) pairs.bin[p] * 3 * n, *u = geometry.unit;
      Filter<real> w;
#pragma GCC unroll 6
      for (int k = 0; k < DEGREE; k++, row += 3 * n) {
        w.s += geometry.value[k] * load(row), w.t += geometry.value[k] * load(row + n);
        if constexpr (!first) w.g += geometry.value[k] * load(row + 2 * n);
      }
      const size_t j = pairs.neighbour[p];
      sums.template receive<first>(w, inputs_of<first>(pairs, m.inputs, j), u[0], u[1], u[2]);
      if (p >= pairs.directed[i]) continue;
      Sums<real> there(m.sums + j * 4 * n);
      there.template receive<first>(w, here, -u[0], -u[1], -u[2]);
      there.put(m.sums + j * 4 * n);
    }
    sums.add_to_row(m.sums + (size_t) i * 4 * n);
  }
}

// Filters of a pair and their slopes with the distance, by their spline weights.
template <bool first, class real>
static inline void filters(const real *values, const real *slopes, const real *row, Filter<real> &w, Filter<real> &dw) {
  constexpr int n = lanes<real>;
#pragma GCC unroll 6
  for (int k = 0; k < DEGREE; k++, row += 3 * n) {
    const vec<real> s = load(row), t = load(row + n);
    const real value = values[k], slope = slopes[k];
    w.s += value * s, w.t += value * t;
    dw.s += slope * s, dw.t += slope * t;
    if constexpr (first) continue;
    const vec<real> g = load(row + 2 * n);
    w.g += value * g, dw.g += slope * g;
  }
}

template <bool first, class real>
static void message_backward(const PairList<real> &the_pairs, const Message<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Message<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Inputs<real> xi = inputs_of<first>(pairs, m.inputs, i);
    const Sums<real> hi(m.sums + (size_t) i * 4 * n);
    Inputs<real> bi;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *u = geometry.unit;
      Filter<real> w, dw;
      filters<first>(geometry.value, geometry.slope, m.table + (size_t) pairs.bin[p] * 3 * n, w, dw);
      const size_t j = pairs.neighbour[p];
      const Inputs<real> xj = inputs_of<first>(pairs, m.inputs, j);
      const vec<real> along_i = u[0] * hi.x + u[1] * hi.y + u[2] * hi.z;
      vec<real> xs = xj.s * hi.q, xt = xj.t * along_i, xg{};
      const vec<real> wj = w.t * xj.t;
      vec<real> ux = wj * hi.x, uy = wj * hi.y, uz = wj * hi.z;
      if constexpr (!first) {
        xg = xj.x * hi.x + xj.y * hi.y + xj.z * hi.z;
        Inputs<real> bj(m.adjoints + j * 5 * n);
        bj.s += w.s * hi.q, bj.t += w.t * along_i;
        bj.x += w.g * hi.x, bj.y += w.g * hi.y, bj.z += w.g * hi.z;
        bj.put(m.adjoints + j * 5 * n);
      }
      if (p < pairs.directed[i]) {
        const Sums<real> hj(m.sums + j * 4 * n);
        const vec<real> along_j = u[0] * hj.x + u[1] * hj.y + u[2] * hj.z, wi = w.t * xi.t;
        xs += xi.s * hj.q, xt -= xi.t * along_j;
        ux -= wi * hj.x, uy -= wi * hj.y, uz -= wi * hj.z;
        if constexpr (!first) {
          xg += xi.x * hj.x + xi.y * hj.y + xi.z * hj.z;
          bi.s += w.s * hj.q, bi.t -= w.t * along_j;
          bi.x += w.g * hj.x, bi.y += w.g * hj.y, bi.z += w.g * hj.z;
        }
      }
      vec<real> along = dw.s * xs + dw.t * xt;
      if constexpr (!first) along += dw.g * xg;
      add_sums<real>(m.slopes + 4 * (size_t) p, along, ux, uy, uz);
    }
    if constexpr (!first) bi.add_to_row(m.adjoints + (size_t) i * 5 * n);
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
