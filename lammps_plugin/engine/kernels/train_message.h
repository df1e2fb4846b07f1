// Tangents of the message layer, one channel block at a time, forward and in reverse, and the gradient of the filter
// table. A tangent is the derivative along given changes of the pair vectors; values are there from the evaluation.
// Names as in message.h; du is the change of the unit vector.
#ifndef TLMD_ENGINE_TRAIN_MESSAGE_H
#define TLMD_ENGINE_TRAIN_MESSAGE_H

#include "message.h"

namespace tlmd::engine::TLMD_ISA {

// Filters of a pair and their tangents: the slopes times the change of the distance.
template <bool first_layer, class real>
static inline Dual<Filter<real>> filters(const PairGeometry<real> &geometry, const real *row, real d_change) {
  Dual<Filter<real>> W;
  filters<first_layer>(geometry.value, geometry.slope, row, W.v, W.t);
  W.t.s *= d_change, W.t.vs *= d_change, W.t.vv *= d_change;
  return W;
}

template <bool first_layer, class real>
static inline Dual<Inputs<real>> inputs_of(const PairList<real> &pairs, const TrainMessage<real> &m, size_t j) {
  const Inputs<real> value = inputs_of<first_layer>(pairs, m.inputs.v, j);
  if constexpr (first_layer) return {value, Inputs<real>()};  // the species do not change
  return {value, Inputs<real>(m.inputs.t + j * 5 * lanes<real>)};
}

// The tangent of what a neighbour's inputs send along sign * u: added to the sums of the receiver.
template <bool first_layer, class real>
static inline void receive(Sums<real> &sums, const Dual<Filter<real>> &W, const Dual<Inputs<real>> &phi, const real *u,
                           const real *du, real sign) {
  sums.template receive<first_layer>(W.t, phi.v, sign * u[0], sign * u[1], sign * u[2]);
  if constexpr (!first_layer) sums.template receive<first_layer>(W.v, phi.t, sign * u[0], sign * u[1], sign * u[2]);
  const vec<real> sent = W.v.vs * phi.v.vs;
  sums.x += sent * (sign * du[0]);
  sums.y += sent * (sign * du[1]);
  sums.z += sent * (sign * du[2]);
}

template <bool first_layer, class real>
static void train_message_forward(const PairList<real> &the_pairs, const TrainMessage<real> &the_message) {
  const PairList<real> pairs = the_pairs;
  const TrainMessage<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Dual<Inputs<real>> phi_i = inputs_of<first_layer>(pairs, m, i);
    Sums<real> sums_i;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *change = m.changes + 4 * (size_t) p;
      const auto W = filters<first_layer>(geometry, m.table + (size_t) pairs.bin[p] * 3 * n, change[0]);
      const size_t j = pairs.neighbour[p];
      receive<first_layer>(sums_i, W, inputs_of<first_layer>(pairs, m, j), geometry.unit, change + 1, real(1));
      if (p >= pairs.directed[i]) continue;
      Sums<real> sums_j(m.sums.t + j * 4 * n);
      receive<first_layer>(sums_j, W, phi_i, geometry.unit, change + 1, real(-1));
      sums_j.put(m.sums.t + j * 4 * n);
    }
    sums_i.add_to_row(m.sums.t + (size_t) i * 4 * n);
  }
}

// Adjoints of a pair: of its filters, and the tangents of those of its unit vector.
template <class real> struct PairAdjoints {
  Dual<Filter<real>> filter;
  vec<real> ux{}, uy{}, uz{};
};

// One direction of a pair in reverse: from the adjoints h of the receiver's sums to the tangents of those of the
// sender's inputs, and to the adjoints of the filters (for the table or the vectors) and of the unit vector.
template <bool first_layer, bool table, bool vectors, int sign, class real>
static inline void give_back(const Dual<Sums<real>> &h, const Dual<Filter<real>> &W, const Dual<Inputs<real>> &phi,
                             const real *u, const real *du, Inputs<real> &adjoint, PairAdjoints<real> &pair) {
  const vec<real> plus = u[0] * h.v.x + u[1] * h.v.y + u[2] * h.v.z, along = sign > 0 ? plus : -plus;
  const vec<real> plus_t = u[0] * h.t.x + u[1] * h.t.y + u[2] * h.t.z + du[0] * h.v.x + du[1] * h.v.y + du[2] * h.v.z;
  const vec<real> along_t = sign > 0 ? plus_t : -plus_t;
  adjoint.s = adjoint.s + W.t.s * h.v.q + W.v.s * h.t.q;
  adjoint.vs = adjoint.vs + W.t.vs * along + W.v.vs * along_t;
  if constexpr (!first_layer) {
    adjoint.x = adjoint.x + W.t.vv * h.v.x + W.v.vv * h.t.x;
    adjoint.y = adjoint.y + W.t.vv * h.v.y + W.v.vv * h.t.y;
    adjoint.z = adjoint.z + W.t.vv * h.v.z + W.v.vv * h.t.z;
  }
  if constexpr (vectors) {
    const vec<real> sent = W.v.vs * phi.v.vs * real(sign);
    vec<real> sent_t = W.t.vs * phi.v.vs * real(sign);
    if constexpr (!first_layer) sent_t += W.v.vs * phi.t.vs * real(sign);
    pair.ux += sent_t * h.v.x + sent * h.t.x;
    pair.uy += sent_t * h.v.y + sent * h.t.y;
    pair.uz += sent_t * h.v.z + sent * h.t.z;
  }
  if constexpr (!table && !vectors) return;
  Dual<Filter<real>> &x = pair.filter;
  x.v.s += phi.v.s * h.v.q;
  x.v.vs += phi.v.vs * along;
  x.t.s += phi.v.s * h.t.q;
  x.t.vs += phi.v.vs * along_t;
  if constexpr (first_layer) return;
  x.v.vv = x.v.vv + phi.v.x * h.v.x + phi.v.y * h.v.y + phi.v.z * h.v.z;
  x.t.s += phi.t.s * h.v.q;
  x.t.vs += phi.t.vs * along;
  x.t.vv = x.t.vv + phi.t.x * h.v.x + phi.t.y * h.v.y + phi.t.z * h.v.z;
  x.t.vv = x.t.vv + phi.v.x * h.t.x + phi.v.y * h.t.y + phi.v.z * h.t.z;
}

// Adjoints of the inputs of row j, written back
template <bool first_layer, class real>
static inline void put_inputs(const PairList<real> &pairs, real *adjoints, size_t j, const Inputs<real> &adjoint) {
  constexpr int n = lanes<real>;
  if constexpr (!first_layer) return adjoint.put(adjoints + j * 5 * n);
  real *row = adjoints + (size_t) pairs.species[j] * 2 * n;
  store(row, adjoint.s), store(row + n, adjoint.vs);
}

// The tangent of dE/dd of a pair.
template <bool first_layer, class real>
static inline vec<real> slope_tangent(const real *slopes, const real *slope_changes, const real *row,
                                      const Dual<Filter<real>> &x) {
  Filter<real> dW, dW_t;
  filters<first_layer>(slopes, slope_changes, row, dW, dW_t);
  vec<real> sum = dW.s * x.t.s + dW.vs * x.t.vs + dW_t.s * x.v.s + dW_t.vs * x.v.vs;
  if constexpr (!first_layer) sum += dW.vv * x.t.vv + dW_t.vv * x.v.vv;
  return sum;
}

// The gradient of the filter table, added at the rows of a pair.
template <bool first_layer, class real>
static inline void add_to_table(const PairGeometry<real> &geometry, real d_change, const Dual<Filter<real>> &x,
                                real *row) {
  constexpr int n = lanes<real>;
#pragma GCC unroll 6
  for (int k = 0; k < SPLINE_WEIGHTS; k++, row += 3 * n) {
    const real value = geometry.value[k], value_t = geometry.slope[k] * d_change;
    store(row, load(row) + value * x.t.s + value_t * x.v.s);
    store(row + n, load(row + n) + value * x.t.vs + value_t * x.v.vs);
    if constexpr (!first_layer) store(row + 2 * n, load(row + 2 * n) + value * x.t.vv + value_t * x.v.vv);
  }
}

// table, vectors: whether the gradients of the filter table and of the pair vectors are wanted.
template <bool first_layer, bool table, bool vectors, class real>
static void reverse(const PairList<real> &the_pairs, const TrainMessage<real> &the_message) {
  const PairList<real> pairs = the_pairs;
  const TrainMessage<real> m = the_message;
  constexpr int n = lanes<real>;
  auto sums = [&](size_t j) {
    return Dual<Sums<real>>{Sums<real>(m.sums.v + j * 4 * n), Sums<real>(m.sums.t + j * 4 * n)};
  };
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Dual<Inputs<real>> phi_i = inputs_of<first_layer>(pairs, m, i);
    const Dual<Sums<real>> h_i = sums(i);
    Inputs<real> adjoint_i;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *u = geometry.unit, *change = m.changes + 4 * (size_t) p, *du = change + 1;
      const size_t row = (size_t) pairs.bin[p] * 3 * n, j = pairs.neighbour[p];
      const auto W = filters<first_layer>(geometry, m.table + row, change[0]);
      PairAdjoints<real> pair;
      Inputs<real> adjoint_j = inputs_of<first_layer>(pairs, m.adjoints, j);
      give_back<first_layer, table, vectors, 1>(h_i, W, inputs_of<first_layer>(pairs, m, j), u, du, adjoint_j, pair);
      put_inputs<first_layer>(pairs, m.adjoints, j, adjoint_j);
      if (p < pairs.directed[i]) give_back<first_layer, table, vectors, -1>(sums(j), W, phi_i, u, du, adjoint_i, pair);
      if constexpr (vectors)
        add_sums<real>(m.slopes + 4 * (size_t) p,
                       slope_tangent<first_layer>(geometry.slope, m.slope_changes + SPLINE_WEIGHTS * (size_t) p,
                                                  m.table + row, pair.filter),
                       pair.ux, pair.uy, pair.uz);
      if constexpr (table) add_to_table<first_layer>(geometry, change[0], pair.filter, m.table_gradient + row);
    }
    const Inputs<real> before = inputs_of<first_layer>(pairs, m.adjoints, i);
    adjoint_i.s += before.s, adjoint_i.vs += before.vs;
    adjoint_i.x += before.x, adjoint_i.y += before.y, adjoint_i.z += before.z;
    put_inputs<first_layer>(pairs, m.adjoints, i, adjoint_i);
  }
}

template <bool first_layer, class real>
static void train_message_backward(const PairList<real> &pairs, const TrainMessage<real> &message) {
  const bool table = message.table_gradient, vectors = message.slopes;
  (vectors ? table ? reverse<first_layer, true, true, real> : reverse<first_layer, false, true, real>
   : table ? reverse<first_layer, true, false, real>
           : reverse<first_layer, false, false, real>) (pairs, message);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
