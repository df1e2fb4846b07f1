// The tangents of the update, one tile of atoms at a time. The values are those that the evaluation kept; the steps are
// those of update_forward.h.
#ifndef TLMD_ENGINE_TRAIN_UPDATE_FORWARD_H
#define TLMD_ENGINE_TRAIN_UPDATE_FORWARD_H

#include "train_tile.h"

namespace tlmd::engine::TLMD_ISA {

// Tangents of q and mu after the layer
template <class real> static void add_update(const Kept<real> &k, int f, int count, bool last) {
  const int sv_at = last ? f : 2 * f;
  for (int a = 0; a < count; a++) {
    const Dual<real *> a_ss = k.of(&LayerStore<real>::a) + (size_t) a * 3 * f, a_vv = a_ss + f, a_sv = a_ss + sv_at;
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k, f, a, c);
      const size_t q = (size_t) a * f + c;
      const vec<real> sv = load(a_sv.v + c);
      store(k.t.q_out + q, load(k.t.q_in + q) + load(a_ss.t + c) + load(a_sv.t + c) * x.v.UV + sv * x.UV_t);
      if (last) continue;
      const vec<real> vv = load(a_vv.v + c), vv_t = load(a_vv.t + c);
      for (int d = 0; d < 3; d++) {
        const size_t mu = ((size_t) a * 3 + d) * f + c;
        store(k.t.mu + mu, load(k.t.mu_in + mu) + vv_t * x.v.U[d] + vv * x.t.U[d]);
      }
    }
  }
}

// Tangents of the next layer's inputs from those of phi (TILE, 3F)
template <class real>
static void tangent_inputs(const TrainUpdate<real> &args, const Kept<real> &k, int first, int count,
                           const real *phi_t) {
  constexpr int n = lanes<real>;
  const int f = args.width;
  for (int c = 0; c < f; c += n)
    for (int a = 0; a < count; a++) {
      real *row = args.inputs + (((size_t) c / n) * args.n_atoms + first + a) * 5 * n;
      const real *phi = phi_t + (size_t) a * 3 * f + c;
      const vec<real> vv = load(k.v.phi_vv + (size_t) a * f + c), vv_t = load(phi + 2 * f);
      store(k.t.phi_vv + (size_t) a * f + c, vv_t);
      for (int part = 0; part < 2; part++) store(row + part * n, load(phi + part * f));
      for (int d = 0; d < 3; d++) {
        const size_t mu = ((size_t) a * 3 + d) * f + c;
        store(row + (2 + d) * n, vv_t * load(k.v.mu + mu) + vv * load(k.t.mu + mu));
      }
    }
}

template <class real> static void train_update_forward(const TrainUpdate<real> &args, int first, int count) {
  using Store = LayerStore<real>;
  const int f = args.width, rows = padded(count, ROWS);
  const LayerWeights<real> &w = *args.weights;
  const TrainTile<real> tile(args.scratch, f);
  const Kept<real> k(args, first);
  const Dual<real *> active = {nullptr, tile.one_f.t};
  if (args.moments.t) {
    const Moments<real> &m = *args.moments.t;
    multiply(m.scalar + (size_t) first * m.pitch, m.pitch, rows, w.moments_q.forward, k.t.q_in, f);
    multiply(m.vector + (size_t) first * 3 * m.pitch, m.pitch, 3 * rows, w.moments_mu.forward, k.t.mu_in, f);
  } else {
    state_rows<false>(args.state, args.n_atoms, f, first, count, k.t.q_in, f, k.t.mu_in);
  }
  multiply(k.t.mu_in, f, 3 * rows, w.VU.forward, k.t.VU, 2 * f);
  q_and_norm(k, f, count, w.epsilon2, tile.q_norm);
  multiply_tangents(tile.q_norm.t, 2 * f, rows, w.a0.forward, k.t.a_hidden, f);
  activate(k.of(&Store::a_hidden), active, (size_t) count * f);
  multiply_tangents(active.t, f, rows, w.a2.forward, k.t.a, 3 * f);
  add_update(k, f, count, args.last);
  multiply_tangents(k.t.q_out, f, rows, w.phi0.forward, k.t.phi_hidden, f);
  activate(k.of(&Store::phi_hidden), active, (size_t) count * f);
  if (args.last) {
    for (int a = 0; a < count; a++) {
      double e = 0;
      for (int c = 0; c < w.phi0.forward.n; c++) e += (double) active.t[(size_t) a * f + c] * w.energy[c];
      args.energies_t[first + a] = e;
    }
    return;
  }
  state_rows<true>(args.state, args.n_atoms, f, first, count, k.t.q_out, f, k.t.mu);
  multiply_tangents(active.t, f, rows, w.phi2.forward, tile.three_f.t, 3 * f);
  tangent_inputs(args, k, first, count, tile.three_f.t);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
