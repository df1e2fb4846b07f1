// Tangents of the message layer, one channel block at a time, forward and in reverse, and the gradient of the filter
// table. A tangent is the derivative along given changes of the pair vectors; values are there from the evaluation.
#ifndef TLMD_ENGINE_TRAIN_MESSAGE_H
#define TLMD_ENGINE_TRAIN_MESSAGE_H

#include "message.h"

namespace tlmd::engine::TLMD_ISA {

// A value and its tangent.
template <class T> struct Dual {
  T v{}, t{};
};

// Filters of a pair and their tangents: the slopes times the change of the distance.
template <bool first, class real>
static inline Dual<Filter<real>> filters(const PairGeometry<real> &geometry, const real *row, real along) {
  Dual<Filter<real>> w;
  filters<first>(geometry.value, geometry.slope, row, w.v, w.t);
  w.t.s *= along, w.t.t *= along, w.t.g *= along;
  return w;
}

template <bool first, class real>
static inline Dual<Inputs<real>> inputs_of(const PairList<real> &pairs, const TrainMessage<real> &m, size_t j) {
  const Inputs<real> value = inputs_of<first>(pairs, m.inputs.v, j);
  if constexpr (first) return {value, Inputs<real>()};  // the species do not change
  return {value, Inputs<real>(m.inputs.t + j * 5 * lanes<real>)};
}

// The tangent of what a neighbour's inputs send along u: added to the sums of the receiver.
template <bool first, class real>
static inline void receive(Sums<real> &sums, const Dual<Filter<real>> &w, const Dual<Inputs<real>> &from, const real *u,
                           const real *du, real sign) {
  sums.template receive<first>(w.t, from.v, sign * u[0], sign * u[1], sign * u[2]);
  if constexpr (!first) sums.template receive<first>(w.v, from.t, sign * u[0], sign * u[1], sign * u[2]);
  const vec<real> wt = w.v.t * from.v.t;
  sums.x += wt * (sign * du[0]);
  sums.y += wt * (sign * du[1]);
  sums.z += wt * (sign * du[2]);
}

template <bool first, class real>
static void train_message_forward(const PairList<real> &the_pairs, const TrainMessage<real> &the_message) {
  const PairList<real> pairs = the_pairs;
  const TrainMessage<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Dual<Inputs<real>> here = inputs_of<first>(pairs, m, i);
    Sums<real> sums;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *change = m.changes + 4 * (size_t) p;
      const auto w = filters<first>(geometry, m.table + (size_t) pairs.bin[p] * 3 * n, change[0]);
      const size_t j = pairs.neighbour[p];
      receive<first>(sums, w, inputs_of<first>(pairs, m, j), geometry.unit, change + 1, real(1));
      if (p >= pairs.directed[i]) continue;
      Sums<real> there(m.sums.t + j * 4 * n);
      receive<first>(there, w, here, geometry.unit, change + 1, real(-1));
      there.put(m.sums.t + j * 4 * n);
    }
    sums.add_to_row(m.sums.t + (size_t) i * 4 * n);
  }
}

// Adjoints of a pair: of its filters, and the tangents of those of its unit vector.
template <class real> struct PairAdjoints {
  Dual<Filter<real>> filter;
  vec<real> x{}, y{}, z{};
};

// One direction of a pair in reverse: from the adjoints h of the receiver's sums to the tangents of those of the
// sender's inputs, and to the adjoints of the filters (for the table or the vectors) and of the unit vector.
template <bool first, bool table, bool vectors, int sign, class real>
static inline void give_back(const Dual<Sums<real>> &h, const Dual<Filter<real>> &w, const Dual<Inputs<real>> &from,
                             const real *u, const real *du, Inputs<real> &adjoint, PairAdjoints<real> &pair) {
  const vec<real> plus = u[0] * h.v.x + u[1] * h.v.y + u[2] * h.v.z, along = sign > 0 ? plus : -plus;
  const vec<real> plus_t = u[0] * h.t.x + u[1] * h.t.y + u[2] * h.t.z + du[0] * h.v.x + du[1] * h.v.y + du[2] * h.v.z;
  const vec<real> along_t = sign > 0 ? plus_t : -plus_t;
  adjoint.s = adjoint.s + w.t.s * h.v.q + w.v.s * h.t.q;
  adjoint.t = adjoint.t + w.t.t * along + w.v.t * along_t;
  if constexpr (!first) {
    adjoint.x = adjoint.x + w.t.g * h.v.x + w.v.g * h.t.x;
    adjoint.y = adjoint.y + w.t.g * h.v.y + w.v.g * h.t.y;
    adjoint.z = adjoint.z + w.t.g * h.v.z + w.v.g * h.t.z;
  }
  if constexpr (vectors) {
    const vec<real> sent = w.v.t * from.v.t * real(sign);
    vec<real> sent_t = w.t.t * from.v.t * real(sign);
    if constexpr (!first) sent_t += w.v.t * from.t.t * real(sign);
    pair.x += sent_t * h.v.x + sent * h.t.x;
    pair.y += sent_t * h.v.y + sent * h.t.y;
    pair.z += sent_t * h.v.z + sent * h.t.z;
  }
  if constexpr (!table && !vectors) return;
  Dual<Filter<real>> &filter = pair.filter;
  filter.v.s += from.v.s * h.v.q;
  filter.v.t += from.v.t * along;
  filter.t.s += from.v.s * h.t.q;
  filter.t.t += from.v.t * along_t;
  if constexpr (first) return;
  filter.v.g = filter.v.g + from.v.x * h.v.x + from.v.y * h.v.y + from.v.z * h.v.z;
  filter.t.s += from.t.s * h.v.q;
  filter.t.t += from.t.t * along;
  filter.t.g = filter.t.g + from.t.x * h.v.x + from.t.y * h.v.y + from.t.z * h.v.z;
  filter.t.g = filter.t.g + from.v.x * h.t.x + from.v.y * h.t.y + from.v.z * h.t.z;
}

// Adjoints of the inputs of row j, written back
template <bool first, class real>
static inline void put_inputs(const PairList<real> &pairs, real *adjoints, size_t j, const Inputs<real> &x) {
  constexpr int n = lanes<real>;
  if constexpr (!first) return x.put(adjoints + j * 5 * n);
  real *row = adjoints + (size_t) pairs.species[j] * 2 * n;
  store(row, x.s), store(row + n, x.t);
}

// The tangent of dE/dd of a pair.
template <bool first, class real>
static inline vec<real> slope_tangent(const real *slopes, const real *bends, const real *row,
                                      const Dual<Filter<real>> &x) {
  Filter<real> w, dw;
  filters<first>(slopes, bends, row, w, dw);
  vec<real> sum = w.s * x.t.s + w.t * x.t.t + dw.s * x.v.s + dw.t * x.v.t;
  if constexpr (!first) sum += w.g * x.t.g + dw.g * x.v.g;
  return sum;
}

template <bool first, bool table, bool vectors, class real>
static void reverse(const PairList<real> &the_pairs, const TrainMessage<real> &the_message) {
  const PairList<real> pairs = the_pairs;
  const TrainMessage<real> m = the_message;
  constexpr int n = lanes<real>;
  auto sums = [&](size_t j) {
    return Dual<Sums<real>>{Sums<real>(m.sums.v + j * 4 * n), Sums<real>(m.sums.t + j * 4 * n)};
  };
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Dual<Inputs<real>> xi = inputs_of<first>(pairs, m, i);
    const Dual<Sums<real>> hi = sums(i);
    Inputs<real> bi;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *change = m.changes + 4 * (size_t) p;
      const size_t row = (size_t) pairs.bin[p] * 3 * n, j = pairs.neighbour[p];
      const auto w = filters<first>(geometry, m.table + row, change[0]);
      PairAdjoints<real> pair;
      Inputs<real> bj = inputs_of<first>(pairs, m.adjoints, j);
      give_back<first, table, vectors, 1>(hi, w, inputs_of<first>(pairs, m, j), geometry.unit, change + 1, bj, pair);
      put_inputs<first>(pairs, m.adjoints, j, bj);
      if (p < pairs.directed[i])
        give_back<first, table, vectors, -1>(sums(j), w, xi, geometry.unit, change + 1, bi, pair);
      const Dual<Filter<real>> &x = pair.filter;
      if constexpr (vectors)
        add_sums<real>(m.slopes + 4 * (size_t) p,
                       slope_tangent<first>(geometry.slope, m.bends + DEGREE * (size_t) p, m.table + row, x), pair.x,
                       pair.y, pair.z);
      if constexpr (!table) continue;
      real *gradient = m.table_gradient + row;
#pragma GCC unroll 6
      for (int k = 0; k < DEGREE; k++, gradient += 3 * n) {
        const real value = geometry.value[k], along = geometry.slope[k] * change[0];
        store(gradient, load(gradient) + value * x.t.s + along * x.v.s);
        store(gradient + n, load(gradient + n) + value * x.t.t + along * x.v.t);
        if constexpr (!first) store(gradient + 2 * n, load(gradient + 2 * n) + value * x.t.g + along * x.v.g);
      }
    }
    const Inputs<real> before = inputs_of<first>(pairs, m.adjoints, i);
    bi.s += before.s, bi.t += before.t, bi.x += before.x, bi.y += before.y, bi.z += before.z;
    put_inputs<first>(pairs, m.adjoints, i, bi);
  }
}

template <bool first, class real>
static void train_message_backward(const PairList<real> &pairs, const TrainMessage<real> &message) {
  const bool table = message.table_gradient, vectors = message.slopes;
  (vectors ? table ? reverse<first, true, true, real> : reverse<first, false, true, real>
   : table ? reverse<first, true, false, real>
           : reverse<first, false, false, real>) (pairs, message);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
