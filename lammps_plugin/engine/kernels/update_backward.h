// The update in reverse: adjoints of q and mu before it from those after it, one tile of atoms at a time.
#ifndef TLMD_ENGINE_UPDATE_BACKWARD_H
#define TLMD_ENGINE_UPDATE_BACKWARD_H

#include "update_tile.h"

namespace tlmd::engine::TLMD_ISA {

// Adjoints of q (rows F apart) after the last layer, from the energy
template <class real>
static inline void read_out_back(const Update<real> &args, int first, int count, int rows, real *q,
                                 UpdateTile<real> &tile) {
  const int f = args.width, h = args.weights->phi0.forward.n;
  const real *hidden = args.store.phi_hidden + (size_t) first * f;
  for (int a = 0; a < count; a++) {
    const real scale = args.scale[args.species[first + a]];
    for (int c = 0; c < h; c += lanes<real>)
      store(tile.one_f + (size_t) a * f + c,
            scale * load(args.weights->energy + c) * silu_slope<real>(load(hidden + (size_t) a * f + c)));
  }
  multiply(tile.one_f, f, rows, args.weights->phi0.reverse, q, f);
}

// What the next layer's inputs add to the adjoints of q (rows F apart) and mu
template <class real>
static inline void inputs_back(const Update<real> &args, int first, int count, int rows, real *q,
                               UpdateTile<real> &tile) {
  constexpr int n = lanes<real>;
  const int f = args.width;
  const real *hidden = args.store.phi_hidden + (size_t) first * f;
  const real *phi_vv = args.store.phi_vv + (size_t) first * f, *mu = args.store.mu + (size_t) first * 3 * f;
  for (int c = 0; c < f; c += n) {
    const real *row = args.adjoints + ((size_t) c / n * args.n_rows + first) * 5 * n;
    for (int a = 0; a < count; a++, row += 5 * n) {
      real *phi = tile.three_f + (size_t) a * 3 * f + c;
      const vec<real> vv = load(phi_vv + (size_t) a * f + c);
      vec<real> sum{};
      for (int k = 0; k < 3; k++) {
        const size_t at = ((size_t) a * 3 + k) * f + c;
        const vec<real> g = load(row + (2 + k) * n);  // adjoint of phi_vv mu
        sum += g * load(mu + at);
        add_to(tile.mu + at, g * vv);
      }
      store(phi, load(row));
      store(phi + f, load(row + n));
      store(phi + 2 * f, sum);
    }
  }
  real *active_adjoint = kept_or(args.store.phi_active_adjoint, first, f, tile.one_f);
  multiply(tile.three_f, 3 * f, rows, args.weights->phi2.reverse, active_adjoint, f);
  activate_back(hidden, active_adjoint, tile.one_f, (size_t) count * f);
  multiply(tile.one_f, f, rows, args.weights->phi0.reverse, q, f, true);
}

// Adjoints of q (rows F apart) and mu after a layer, from the energy or from the next layer's inputs and sums
template <class real>
static inline void adjoints_after(const Update<real> &args, int first, int count, int rows, real *q,
                                  UpdateTile<real> &tile) {
  const int f = args.width;
  const real *of_head = args.head_adjoint ? args.head_adjoint + (size_t) first * f : nullptr;
  if (args.last)
    read_out_back(args, first, count, rows, q, tile);
  else
    state_rows<false>(args.state, args.n_owned, f, first, count, q, f, tile.mu);
  for (int c = 0; of_head && c < count * f; c += lanes<real>) add_to(q + c, load(of_head + c));
  if (!args.last) inputs_back(args, first, count, rows, q, tile);
}

// Adjoints of a_ss, a_vv, a_sv: tile.three_f
template <class real>
static inline void a_back(const Update<real> &args, const real *VU, int count, const real *q, UpdateTile<real> &tile) {
  const int f = args.width, sv_at = args.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const Mixed<real> x(VU + (size_t) a * 6 * f, f, c);
      const vec<real> q_adjoint = load(q + (size_t) a * f + c);
      real *ss = tile.three_f + (size_t) a * 3 * f + c;
      store(ss, q_adjoint);
      store(ss + sv_at, q_adjoint * x.UV);
      if (args.last) continue;
      vec<real> vv{};
      for (int k = 0; k < 3; k++) vv += load(tile.mu + ((size_t) a * 3 + k) * f + c) * x.U[k];
      store(ss + f, vv);
    }
}

template <class real> static void update_backward(const Update<real> &args, int first, int count) {
  constexpr int n = lanes<real>;
  const int f = args.width, rows = padded(count, ROWS), sv_at = args.last ? f : 2 * f;
  UpdateTile<real> tile(args.scratch, f);
  const LayerWeights<real> &w = *args.weights;
  const LayerStore<real> &kept = args.store;
  real *q = kept_or(kept.q_adjoint, first, f, tile.one_f + TILE * f), *q_in = tile.one_f;
  real *a_active_adjoint = kept_or(kept.a_active_adjoint, first, f, tile.one_f);
  real *q_norm_adjoint = kept_or(kept.q_norm_adjoint, first, 2 * f, tile.q_norm);
  const real *VU = kept.VU + (size_t) first * 6 * f, *a_hidden = kept.a_hidden + (size_t) first * f;
  const real *a_tile = kept.a + (size_t) first * 3 * f;
  adjoints_after(args, first, count, rows, q, tile);
  a_back(args, VU, count, q, tile);
  multiply(tile.three_f, 3 * f, rows, w.a2.reverse, a_active_adjoint, f);
  activate_back(a_hidden, a_active_adjoint, tile.one_f, (size_t) count * f);
  multiply(tile.one_f, f, rows, w.a0.reverse, q_norm_adjoint, 2 * f);

  for (int a = 0; a < count; a++) {
    real *inverse_norm = tile.three_f + (size_t) a * 3 * f;
    const real *a_vv = a_tile + (size_t) a * 3 * f + f, *a_sv = a_tile + (size_t) a * 3 * f + sv_at;
    for (int c = 0; c < f; c += n)
      store(inverse_norm + c, Mixed<real>(VU + (size_t) a * 6 * f, f, c).norm2(w.epsilon2));
    for (int c = 0; c < f; c++) inverse_norm[c] = real(1) / root(inverse_norm[c]);
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(VU + (size_t) a * 6 * f, f, c);
      const vec<real> q_adjoint = load(q + (size_t) a * f + c), UV_adjoint = q_adjoint * load(a_sv + c);
      const vec<real> along = load(q_norm_adjoint + ((size_t) a * 2 + 1) * f + c) * load(inverse_norm + c);
      store(q_in + (size_t) a * f + c, q_adjoint + load(q_norm_adjoint + (size_t) a * 2 * f + c));
      for (int k = 0; k < 3; k++) {
        const size_t row = (size_t) a * 3 + k;
        vec<real> U = UV_adjoint * x.V[k];
        if (!args.last) U += load(a_vv + c) * load(tile.mu + row * f + c);
        store(tile.VU + row * 2 * f + c, UV_adjoint * x.U[k] + along * x.V[k]);
        store(tile.VU + (row * 2 + 1) * f + c, U);
      }
    }
  }
  const bool folded = args.moments && w.moments_VU.forward.packed;
  if (!folded) {
    multiply(tile.VU, 2 * f, 3 * rows, w.VU.reverse, tile.mu, f, !args.last);
    state_rows<true>(args.state_back, args.n_owned, f, first, count, q_in, f, tile.mu);
  }
  if (!args.moments) return;
  const Moments<real> &m = *args.moments;
  real *scalar = m.scalar_adjoint + (size_t) first * m.adjoint_pitch;
  real *vector = m.vector_adjoint + (size_t) first * 3 * m.adjoint_pitch;
  multiply(q_in, f, rows, w.moments_q.reverse, scalar, m.adjoint_pitch);
  if (folded) multiply(tile.VU, 2 * f, 3 * rows, w.moments_VU.reverse, vector, m.adjoint_pitch);
  if (!folded || !args.last) multiply(tile.mu, f, 3 * rows, w.moments_mu.reverse, vector, m.adjoint_pitch, folded);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
