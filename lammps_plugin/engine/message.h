// Sums over neighbours, eqs. 7 and 8 of the PaiNN paper, one channel block at a time. Filters come from a table of
// quintic splines; each pair of two owned atoms is visited once and serves both.
#ifndef TLMD_ENGINE_MESSAGE_H
#define TLMD_ENGINE_MESSAGE_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> struct Filter {
  vec<real> s{}, t{}, g{};

  inline void add(real weight, const real *row) {
    constexpr int n = lanes<real>;
    s += weight * load(row);
    t += weight * load(row + n);
    g += weight * load(row + 2 * n);
  }
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
};

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
  // what a neighbour's inputs send along the unit vector u
  inline void receive(const Filter<real> &w, const Inputs<real> &from, real ux, real uy, real uz) {
    const vec<real> wt = w.t * from.t;
    q += w.s * from.s;
    x += wt * ux + w.g * from.x;
    y += wt * uy + w.g * from.y;
    z += wt * uz + w.g * from.z;
  }
};

template <class real> static void message_forward(const PairList<real> &the_pairs, const Message<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Message<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Inputs<real> here(m.inputs + (size_t) i * 5 * n);
    Sums<real> sums;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *row = m.table + (size_t) pairs.bin[p] * 3 * n, *u = geometry.unit;
      Filter<real> w;
#pragma GCC unroll 6
      for (int k = 0; k < DEGREE; k++) w.add(geometry.value[k], row + 3 * n * k);
      const size_t j = pairs.neighbour[p];
      sums.receive(w, Inputs<real>(m.inputs + j * 5 * n), u[0], u[1], u[2]);
      if (p >= pairs.directed[i]) continue;
      Sums<real> there;
      there.receive(w, here, -u[0], -u[1], -u[2]);
      there.add_to_row(m.sums + j * 4 * n);
    }
    sums.add_to_row(m.sums + (size_t) i * 4 * n);
  }
}

// Filters of a pair and their slopes with the distance.
template <class real>
static inline void filters(const PairGeometry<real> &geometry, const real *row, Filter<real> &w, Filter<real> &dw) {
  constexpr int n = lanes<real>;
#pragma GCC unroll 6
  for (int k = 0; k < DEGREE; k++, row += 3 * n) {
    const vec<real> s = load(row), t = load(row + n), g = load(row + 2 * n);
    const real value = geometry.value[k], slope = geometry.slope[k];
    w.s += value * s, w.t += value * t, w.g += value * g;
    dw.s += slope * s, dw.t += slope * t, dw.g += slope * g;
  }
}

template <class real> static void message_backward(const PairList<real> &the_pairs, const Message<real> &the_message) {
  const PairList<real> pairs = the_pairs;  // copies, so that no store may change them
  const Message<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Inputs<real> xi(m.inputs + (size_t) i * 5 * n);
    const Sums<real> hi(m.sums + (size_t) i * 4 * n);
    Inputs<real> bi;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *row = m.table + (size_t) pairs.bin[p] * 3 * n, *u = geometry.unit;
      Filter<real> w, dw;
      filters(geometry, row, w, dw);
      const size_t j = pairs.neighbour[p];
      const Inputs<real> xj(m.inputs + j * 5 * n);
      const vec<real> along_i = u[0] * hi.x + u[1] * hi.y + u[2] * hi.z;
      vec<real> xs = xj.s * hi.q, xt = xj.t * along_i, xg = xj.x * hi.x + xj.y * hi.y + xj.z * hi.z;
      const vec<real> wj = w.t * xj.t;
      vec<real> ux = wj * hi.x, uy = wj * hi.y, uz = wj * hi.z;
      Inputs<real> bj;
      bj.s = w.s * hi.q, bj.t = w.t * along_i;
      bj.x = w.g * hi.x, bj.y = w.g * hi.y, bj.z = w.g * hi.z;
      bj.add_to_row(m.adjoints + j * 5 * n);
      if (p < pairs.directed[i]) {
        const Sums<real> hj(m.sums + j * 4 * n);
        const vec<real> along_j = u[0] * hj.x + u[1] * hj.y + u[2] * hj.z, wi = w.t * xi.t;
        xs += xi.s * hj.q, xt -= xi.t * along_j, xg += xi.x * hj.x + xi.y * hj.y + xi.z * hj.z;
        ux -= wi * hj.x, uy -= wi * hj.y, uz -= wi * hj.z;
        bi.s += w.s * hj.q, bi.t -= w.t * along_j;
        bi.x += w.g * hj.x, bi.y += w.g * hj.y, bi.z += w.g * hj.z;
      }
      add_sums<real>(m.slopes + 4 * (size_t) p, dw.s * xs + dw.t * xt + dw.g * xg, ux, uy, uz);
    }
    bi.add_to_row(m.adjoints + (size_t) i * 5 * n);
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
