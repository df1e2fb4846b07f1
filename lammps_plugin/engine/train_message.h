// The message layer of training, one channel block at a time: values with their tangents, forward and in reverse, and
// the gradient of the filter table. A tangent is the derivative along given changes of the pair vectors.
#ifndef TLMD_ENGINE_TRAIN_MESSAGE_H
#define TLMD_ENGINE_TRAIN_MESSAGE_H

#include "message.h"

namespace tlmd::engine::TLMD_ISA {

// A value and its tangent.
template <class T> struct Dual {
  T v{}, t{};
};

// Filters of a pair and their tangents: the slopes times the change of the distance.
template <class real>
static inline Dual<Filter<real>> filters(const PairGeometry<real> &geometry, const real *row, real along) {
  Dual<Filter<real>> w;
  filters(geometry, row, w.v, w.t);
  w.t.s *= along, w.t.t *= along, w.t.g *= along;
  return w;
}

template <class real> static inline Dual<Inputs<real>> inputs_of(const TrainMessage<real> &m, size_t j) {
  constexpr size_t n = 5 * lanes<real>;
  return {Inputs<real>(m.inputs.v + j * n), Inputs<real>(m.inputs.t + j * n)};
}

// What a neighbour's inputs send along u: added to the sums of the receiver.
template <class real>
static inline void receive(Dual<Sums<real>> &sums, const Dual<Filter<real>> &w, const Dual<Inputs<real>> &from,
                           const real *u, const real *du, real sign) {
  sums.v.receive(w.v, from.v, sign * u[0], sign * u[1], sign * u[2]);
  sums.t.receive(w.t, from.v, sign * u[0], sign * u[1], sign * u[2]);
  sums.t.receive(w.v, from.t, sign * u[0], sign * u[1], sign * u[2]);
  const vec<real> wt = w.v.t * from.v.t;
  sums.t.x += wt * (sign * du[0]);
  sums.t.y += wt * (sign * du[1]);
  sums.t.z += wt * (sign * du[2]);
}

template <class real>
static void train_message_forward(const PairList<real> &the_pairs, const TrainMessage<real> &the_message) {
  const PairList<real> pairs = the_pairs;
  const TrainMessage<real> m = the_message;
  constexpr int n = lanes<real>;
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Dual<Inputs<real>> here = inputs_of(m, i);
    Dual<Sums<real>> sums;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *change = m.changes + 4 * (size_t) p;
      const auto w = filters(geometry, m.table + (size_t) pairs.bin[p] * 3 * n, change[0]);
      const size_t j = pairs.neighbour[p];
      receive(sums, w, inputs_of(m, j), geometry.unit, change + 1, real(1));
      if (p >= pairs.directed[i]) continue;
      Dual<Sums<real>> there;
      receive(there, w, here, geometry.unit, change + 1, real(-1));
      there.v.add_to_row(m.sums.v + j * 4 * n);
      there.t.add_to_row(m.sums.t + j * 4 * n);
    }
    sums.v.add_to_row(m.sums.v + (size_t) i * 4 * n);
    sums.t.add_to_row(m.sums.t + (size_t) i * 4 * n);
  }
}

// One direction of a pair in reverse: from the adjoints h of the receiver's sums to those of the sender's inputs, and
// to those of the filters.
template <class real>
static inline void give_back(const Dual<Sums<real>> &h, const Dual<Filter<real>> &w, const Dual<Inputs<real>> &from,
                             const real *u, const real *du, real sign, Dual<Inputs<real>> &adjoint,
                             Dual<Filter<real>> &filter) {
  const vec<real> along = sign * u[0] * h.v.x + sign * u[1] * h.v.y + sign * u[2] * h.v.z;
  const vec<real> along_t = sign * u[0] * h.t.x + sign * u[1] * h.t.y + sign * u[2] * h.t.z +
                            (sign * du[0] * h.v.x + sign * du[1] * h.v.y + sign * du[2] * h.v.z);
  adjoint.v.s += w.v.s * h.v.q;
  adjoint.v.t += w.v.t * along;
  adjoint.v.x += w.v.g * h.v.x, adjoint.v.y += w.v.g * h.v.y, adjoint.v.z += w.v.g * h.v.z;
  adjoint.t.s += w.t.s * h.v.q + w.v.s * h.t.q;
  adjoint.t.t += w.t.t * along + w.v.t * along_t;
  adjoint.t.x += w.t.g * h.v.x + w.v.g * h.t.x;
  adjoint.t.y += w.t.g * h.v.y + w.v.g * h.t.y;
  adjoint.t.z += w.t.g * h.v.z + w.v.g * h.t.z;
  filter.v.s += from.v.s * h.v.q;
  filter.v.t += from.v.t * along;
  filter.v.g += from.v.x * h.v.x + from.v.y * h.v.y + from.v.z * h.v.z;
  filter.t.s += from.t.s * h.v.q + from.v.s * h.t.q;
  filter.t.t += from.t.t * along + from.v.t * along_t;
  filter.t.g += from.t.x * h.v.x + from.t.y * h.v.y + from.t.z * h.v.z;
  filter.t.g += from.v.x * h.t.x + from.v.y * h.t.y + from.v.z * h.t.z;
}

template <class real>
static void train_message_backward(const PairList<real> &the_pairs, const TrainMessage<real> &the_message) {
  const PairList<real> pairs = the_pairs;
  const TrainMessage<real> m = the_message;
  constexpr int n = lanes<real>;
  auto sums = [&](size_t j) {
    return Dual<Sums<real>>{Sums<real>(m.sums.v + j * 4 * n), Sums<real>(m.sums.t + j * 4 * n)};
  };
  auto add = [&](const Dual<Inputs<real>> &adjoint, size_t j) {
    adjoint.v.add_to_row(m.adjoints.v + j * 5 * n);
    adjoint.t.add_to_row(m.adjoints.t + j * 5 * n);
  };
  for (int i = 0; i < pairs.n_atoms; i++) {
    const Dual<Inputs<real>> xi = inputs_of(m, i);
    const Dual<Sums<real>> hi = sums(i);
    Dual<Inputs<real>> bi;
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++) {
      const PairGeometry<real> &geometry = pairs.geometry[p];
      const real *change = m.changes + 4 * (size_t) p;
      const size_t row = (size_t) pairs.bin[p] * 3 * n, j = pairs.neighbour[p];
      const auto w = filters(geometry, m.table + row, change[0]);
      Dual<Filter<real>> x;
      Dual<Inputs<real>> bj;
      give_back(hi, w, inputs_of(m, j), geometry.unit, change + 1, real(1), bj, x);
      add(bj, j);
      if (p < pairs.directed[i]) give_back(sums(j), w, xi, geometry.unit, change + 1, real(-1), bi, x);
      real *gradient = m.table_gradient + row;
#pragma GCC unroll 6
      for (int k = 0; k < DEGREE; k++, gradient += 3 * n) {
        const real value = geometry.value[k], along = geometry.slope[k] * change[0];
        add_to(gradient, value * x.t.s + along * x.v.s);
        add_to(gradient + n, value * x.t.t + along * x.v.t);
        add_to(gradient + 2 * n, value * x.t.g + along * x.v.g);
      }
    }
    add(bi, i);
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
