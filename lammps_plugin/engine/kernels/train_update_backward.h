// The tangents of the update's reverse pass, one tile of atoms at a time, and the gradients of its dense layers. The
// values are those that the evaluation kept; the steps are those of update_backward.h.
#ifndef TLMD_ENGINE_TRAIN_UPDATE_BACKWARD_H
#define TLMD_ENGINE_TRAIN_UPDATE_BACKWARD_H

#include "train_tile.h"

namespace tlmd::engine::TLMD_ISA {

// Tangents of the adjoints of q after the last layer, from the energies: tile.q_t
template <class real>
static void energy_back(const TrainUpdate<real> &args, const Kept<real> &k, int first, int count,
                        const TrainTile<real> &tile) {
  using Store = LayerStore<real>;
  constexpr int n = lanes<real>;
  const LayerWeights<real> &w = *args.weights;
  const TrainGradients<real> &g = args.gradients;
  const int f = args.width, rows = padded(count, ROWS), h = w.phi0.forward.n;
  activate(k.of(&Store::phi_hidden), tile.one_f, (size_t) count * f);
  for (int a = 0; a < count; a++) {
    const real seed = args.scale[args.species[first + a]], seed_t = seed * args.seeds[first + a];
    const Dual<real *> row = tile.one_f + (size_t) a * f;
    for (int c = 0; c < h; c += n) {
      if (g.energy) add_to(g.energy + c, seed_t * load(row.v + c) + seed * load(row.t + c));
      store(row.v + c, seed * load(w.energy + c));
      store(row.t + c, seed_t * load(w.energy + c));
    }
    if (g.energy_bias) *g.energy_bias += seed_t;
    activate_back(k.of(&Store::phi_hidden) + (size_t) a * f, row.v, row, h);
  }
  add_gradient(k.of(&Store::q_out), f, tile.one_f, f, count, f, h, g.phi0, g.phi0_bias);
  multiply(tile.one_f.t, f, rows, w.phi0.reverse, tile.q_t, f);
}

// The same after any other layer, from the next layer's inputs and sums: tile.q_t and, with its values, tile.mu
template <class real>
static void inputs_back(const TrainUpdate<real> &args, const Kept<real> &k, int first, int count,
                        const TrainTile<real> &tile) {
  using Store = LayerStore<real>;
  constexpr int n = lanes<real>;
  const int f = args.width, rows = padded(count, ROWS);
  const LayerWeights<real> &w = *args.weights;
  const TrainGradients<real> &g = args.gradients;
  const Dual<real *> mu = k.of(&Store::mu);
  state_rows<false>(args.state_adjoint_after, args.n_atoms, f, first, count, tile.q_t, f, tile.mu.v);
  state_rows<false>(args.state, args.n_atoms, f, first, count, tile.q_t, f, tile.mu.t);
  for (int c = 0; c < f; c += n)
    for (int a = 0; a < count; a++) {
      const Dual<real *> row = args.adjoints + (((size_t) c / n) * args.n_atoms + first + a) * 5 * n;
      const Dual<real *> phi = tile.three_f + (size_t) a * 3 * f + c;
      const Dual<real *> phi_vv = k.of(&Store::phi_vv) + (size_t) a * f + c;
      const vec<real> vv = load(phi_vv.v), vv_t = load(phi_vv.t);
      vec<real> sum{}, sum_t{};
      for (int d = 0; d < 3; d++) {
        const size_t at = ((size_t) a * 3 + d) * f + c;
        const vec<real> x = load(row.v + (2 + d) * n), x_t = load(row.t + (2 + d) * n);  // adjoint of phi_vv mu
        sum += x * load(mu.v + at);
        sum_t += x_t * load(mu.v + at) + x * load(mu.t + at);
        add_to(tile.mu.v + at, x * vv);
        add_to(tile.mu.t + at, x_t * vv + x * vv_t);
      }
      for (int part = 0; part < 2; part++) {
        store(phi.v + part * f, load(row.v + part * n));
        store(phi.t + part * f, load(row.t + part * n));
      }
      store(phi.v + 2 * f, sum);
      store(phi.t + 2 * f, sum_t);
    }
  activate(k.of(&Store::phi_hidden), tile.one_f, (size_t) count * f);
  add_gradient(tile.one_f, f, tile.three_f, 3 * f, count, f, 3 * f, g.phi2, g.phi2_bias);
  multiply(tile.three_f.t, 3 * f, rows, w.phi2.reverse, tile.one_f.t, f);
  activate_back(k.of(&Store::phi_hidden), k.v.phi_active_adjoint, tile.one_f, (size_t) count * f);
  add_gradient(k.of(&Store::q_out), f, tile.one_f, f, count, f, f, g.phi0, g.phi0_bias);
  multiply(tile.one_f.t, f, rows, w.phi0.reverse, tile.q_t, f, true);
}

// Adjoints of a_ss, a_vv, a_sv of a tile: tile.three_f
template <class real>
static void a_back(const TrainUpdate<real> &args, const Kept<real> &k, int count, const TrainTile<real> &tile) {
  const int f = args.width, sv_at = args.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k, f, a, c);
      const vec<real> q = load(k.v.q_adjoint + (size_t) a * f + c), q_t = load(tile.q_t + (size_t) a * f + c);
      const Dual<real *> ss = tile.three_f + (size_t) a * 3 * f + c;
      store(ss.v, q);
      store(ss.t, q_t);
      store(ss.v + sv_at, q * x.v.UV);
      store(ss.t + sv_at, q_t * x.v.UV + q * x.UV_t);
      if (args.last) continue;
      vec<real> vv{}, vv_t{};
      for (int d = 0; d < 3; d++) {
        const size_t at = ((size_t) a * 3 + d) * f + c;
        const vec<real> mu = load(tile.mu.v + at);
        vv += mu * x.v.U[d];
        vv_t += load(tile.mu.t + at) * x.v.U[d] + mu * x.t.U[d];
      }
      store(ss.v + f, vv);
      store(ss.t + f, vv_t);
    }
}

// Adjoints of V mu and U mu of a tile from those of q, |V| and mu: tile.VU; tile.q_t gets what came through a's q
template <class real>
static void VU_back(const TrainUpdate<real> &args, const Kept<real> &k, int count, const TrainTile<real> &tile) {
  const int f = args.width, sv_at = args.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k, f, a, c);
      const size_t at_q = (size_t) a * f + c, at_q_norm = (size_t) a * 2 * f + c;
      const Dual<real *> a_ss = k.of(&LayerStore<real>::a) + (size_t) a * 3 * f + c, a_vv = a_ss + f,
                         a_sv = a_ss + sv_at;
      const Dual<real *> norm = tile.q_norm + at_q_norm + f;
      const vec<real> q = load(k.v.q_adjoint + at_q), q_t = load(tile.q_t + at_q), sv = load(a_sv.v);
      const vec<real> UV = q * sv, UV_t = q_t * sv + q * load(a_sv.t), inverse_norm = real(1) / load(norm.v);
      const vec<real> along = load(k.v.q_norm_adjoint + at_q_norm + f) * inverse_norm;
      const vec<real> along_t = (load(tile.q_norm_adjoint_t + at_q_norm + f) - along * load(norm.t)) * inverse_norm;
      store(tile.q_t + at_q, q_t + load(tile.q_norm_adjoint_t + at_q_norm));
      for (int d = 0; d < 3; d++) {
        const size_t row = (size_t) a * 3 + d, at = row * 2 * f + c;
        vec<real> U = UV * x.v.V[d], U_t = UV_t * x.v.V[d] + UV * x.t.V[d];
        if (!args.last) {
          const vec<real> vv = load(a_vv.v), mu = load(tile.mu.v + row * f + c);
          U += vv * mu;
          U_t += load(a_vv.t) * mu + vv * load(tile.mu.t + row * f + c);
        }
        store(tile.VU.v + at, UV * x.v.U[d] + along * x.v.V[d]);
        store(tile.VU.t + at, UV_t * x.v.U[d] + UV * x.t.U[d] + along_t * x.v.V[d] + along * x.t.V[d]);
        store(tile.VU.v + at + f, U);
        store(tile.VU.t + at + f, U_t);
      }
    }
}

// Layer 1: adjoints of the moments, and the gradients of what takes them to q and mu
template <class real>
static void moments_back(const TrainUpdate<real> &args, int first, int count, const TrainTile<real> &tile) {
  const LayerWeights<real> &w = *args.weights;
  const TrainGradients<real> &g = args.gradients;
  const Moments<real> &m = *args.moments.v, &m_t = *args.moments.t;
  const int f = args.width, rows = padded(count, ROWS), columns = padded(m.width, GRADIENT_ROWS);
  if (m_t.scalar_adjoint) {
    real *scalar = m_t.scalar_adjoint + (size_t) first * m.adjoint_pitch;
    real *vector = m_t.vector_adjoint + (size_t) first * 3 * m.adjoint_pitch;
    multiply(tile.q_t, f, rows, w.moments_q.reverse, scalar, m.adjoint_pitch);
    multiply(tile.mu.t, f, 3 * rows, w.moments_mu.reverse, vector, m.adjoint_pitch);
  }
  if (!g.moments_q) return;
  const size_t at = (size_t) first * m.pitch;
  const Dual<real *> q = {tile.one_f.v, tile.q_t};
  state_rows<false>(args.state_adjoint_before, args.n_atoms, f, first, count, q.v, f, tile.mu.v);
  add_product<real>({m.scalar + at, m_t.scalar + at}, m.pitch, q, f, count, columns, f, g.moments_q);
  add_product<real>({m.vector + 3 * at, m_t.vector + 3 * at}, m.pitch, tile.mu, f, 3 * count, columns, f, g.moments_mu);
}

template <class real> static void train_update_backward(const TrainUpdate<real> &args, int first, int count) {
  using Store = LayerStore<real>;
  const int f = args.width, rows = padded(count, ROWS), parts = args.last ? 2 : 3;
  const LayerWeights<real> &w = *args.weights;
  const TrainGradients<real> &g = args.gradients;
  const TrainTile<real> tile(args.scratch, f);
  const Kept<real> k(args, first);
  if (args.last)
    energy_back(args, k, first, count, tile);
  else
    inputs_back(args, k, first, count, tile);
  if (!args.update_wanted) return;
  a_back(args, k, count, tile);
  activate(k.of(&Store::a_hidden), tile.one_f, (size_t) count * f);
  add_gradient(tile.one_f, f, tile.three_f, 3 * f, count, f, parts * f, g.a2, g.a2_bias);
  multiply(tile.three_f.t, 3 * f, rows, w.a2.reverse, tile.one_f.t, f);
  activate_back(k.of(&Store::a_hidden), k.v.a_active_adjoint, tile.one_f, (size_t) count * f);
  q_and_norm(k, f, count, w.epsilon2, tile.q_norm);
  add_gradient(tile.q_norm, 2 * f, tile.one_f, f, count, 2 * f, f, g.a0, g.a0_bias);
  multiply(tile.one_f.t, f, rows, w.a0.reverse, tile.q_norm_adjoint_t, 2 * f);
  VU_back(args, k, count, tile);
  add_gradient(k.of(&Store::mu_in), f, tile.VU, 2 * f, 3 * count, f, 2 * f, g.VU, (real *) nullptr);
  multiply(tile.VU.t, 2 * f, 3 * rows, w.VU.reverse, tile.mu.t, f, !args.last);
  state_rows<true>(args.state, args.n_atoms, f, first, count, tile.q_t, f, tile.mu.t);
  if (args.moments.v) moments_back(args, first, count, tile);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
