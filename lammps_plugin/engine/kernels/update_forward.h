// The update, eqs. 9 and 10 of the PaiNN paper, with what leads to the next layer's message (or, after the last layer,
// to the energy) behind it: one tile of atoms at a time.
//
//   q += a_ss + a_sv <U mu, V mu>        mu += a_vv U mu        a_ss, a_vv, a_sv = a(q, |V mu|)
#ifndef TLMD_ENGINE_UPDATE_FORWARD_H
#define TLMD_ENGINE_UPDATE_FORWARD_H

#include "update_tile.h"

namespace tlmd::engine::TLMD_ISA {

// q and mu of a tile after the message, and V mu, U mu
template <class real>
static inline void mix_channels(const Update<real> &args, int first, int count, int rows, UpdateTile<real> &tile) {
  const int f = args.width;
  const LayerWeights<real> &w = *args.weights;
  real *VU = args.store.VU + (size_t) first * 6 * f;
  if (args.moments) {
    const Moments<real> &m = *args.moments;
    multiply(m.scalar + (size_t) first * m.pitch, m.pitch, rows, w.moments_q.forward, tile.q_norm, 2 * f);
    multiply(m.vector + (size_t) first * 3 * m.pitch, m.pitch, 3 * rows, w.moments_mu.forward, tile.mu, f);
    for (int a = 0; a < count; a++) {
      const real *q0 = args.embedding + (size_t) args.species[first + a] * f;
      for (int c = 0; c < f; c += lanes<real>) add_to(tile.q_norm + (size_t) a * 2 * f + c, load(q0 + c));
    }
    if (w.moments_VU.forward.packed)
      return multiply(m.vector + (size_t) first * 3 * m.pitch, m.pitch, 3 * rows, w.moments_VU.forward, VU, 2 * f);
  } else {
    state_rows<false>(args.state, args.n_owned, f, first, count, tile.q_norm, 2 * f, tile.mu);
  }
  keep(tile.q_norm, 2 * f, first, count, f, args.store.q_in);
  keep(tile.mu, 3 * f, first, count, 3 * f, args.store.mu_in);
  multiply(tile.mu, f, 3 * rows, w.VU.forward, VU, 2 * f);
}

// After the last layer: energies from the scalars in `q` (rows, 2F apart)
template <class real>
static inline void read_out(const Update<real> &args, int first, int count, int rows, const real *q, real *active) {
  const int f = args.width, h = args.weights->phi0.forward.n;
  real *hidden = args.store.phi_hidden + (size_t) first * f;
  multiply(q, 2 * f, rows, args.weights->phi0.forward, hidden, f);
  for (int a = 0; a < count; a++) {
    activate(hidden + (size_t) a * f, active, h);
    double e = args.weights->energy_bias;
    for (int c = 0; c < h; c++) e += (double) active[c] * args.weights->energy[c];
    args.energies[first + a] = e;
  }
}

// Inputs of the next layer's message, phi_s, phi_vs and phi_vv mu, from q (rows 2F apart) and mu of a tile
template <class real>
static inline void make_inputs(const Update<real> &args, int first, int count, int rows, const real *q,
                               UpdateTile<real> &tile) {
  constexpr int n = lanes<real>;
  const int f = args.width;
  real *hidden = args.store.phi_hidden + (size_t) first * f, *phi_vv = args.store.phi_vv + (size_t) first * f;
  multiply(q, 2 * f, rows, args.weights->phi0.forward, hidden, f);
  activate(hidden, tile.one_f, (size_t) count * f);
  multiply(tile.one_f, f, rows, args.weights->phi2.forward, tile.three_f, 3 * f);
  keep(tile.mu, 3 * f, first, count, 3 * f, args.store.mu);
  for (int c = 0; c < f; c += n) {
    real *row = args.inputs + ((size_t) c / n * args.n_rows + first) * 5 * n;
    for (int a = 0; a < count; a++, row += 5 * n) {
      const real *phi = tile.three_f + (size_t) a * 3 * f + c;
      const vec<real> vv = load(phi + 2 * f);
      store(row, load(phi));
      store(row + n, load(phi + f));
      store(phi_vv + (size_t) a * f + c, vv);
      for (int k = 0; k < 3; k++) store(row + (2 + k) * n, vv * load(tile.mu + ((size_t) a * 3 + k) * f + c));
    }
  }
}

template <class real> static void update_forward(const Update<real> &args, int first, int count) {
  constexpr int n = lanes<real>;
  const int f = args.width, rows = padded(count, ROWS), sv_at = args.last ? f : 2 * f;
  UpdateTile<real> tile(args.scratch, f);
  const real *VU = args.store.VU + (size_t) first * 6 * f;
  real *a_hidden = args.store.a_hidden + (size_t) first * f, *a_tile = args.store.a + (size_t) first * 3 * f;
  mix_channels(args, first, count, rows, tile);
  for (int a = 0; a < count; a++) {
    real *norm = tile.q_norm + (size_t) a * 2 * f + f;
    for (int c = 0; c < f; c += n)
      store(norm + c, Mixed<real>(VU + (size_t) a * 6 * f, f, c).norm2(args.weights->epsilon2));
    for (int c = 0; c < f; c++) norm[c] = root(norm[c]);
  }
  multiply(tile.q_norm, 2 * f, rows, args.weights->a0.forward, a_hidden, f);
  activate(a_hidden, tile.one_f, (size_t) count * f);
  multiply(tile.one_f, f, rows, args.weights->a2.forward, a_tile, 3 * f);

  for (int a = 0; a < count; a++) {
    const real *a_ss = a_tile + (size_t) a * 3 * f, *a_vv = a_ss + f, *a_sv = a_ss + sv_at;
    real *q = tile.q_norm + (size_t) a * 2 * f, *mu = tile.mu + (size_t) a * 3 * f;
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(VU + (size_t) a * 6 * f, f, c);
      add_to(q + c, load(a_ss + c) + load(a_sv + c) * x.UV);
      if (args.features) store(args.features + ((size_t) first + a) * f + c, load(q + c));
      if (args.last) continue;
      const vec<real> vv = load(a_vv + c);
      for (int k = 0; k < 3; k++) add_to(mu + k * f + c, vv * x.U[k]);
    }
  }
  keep(tile.q_norm, 2 * f, first, count, f, args.store.q_out);
  if (args.last) return read_out(args, first, count, rows, tile.q_norm, tile.one_f);
  state_rows<true>(args.state, args.n_owned, f, first, count, tile.q_norm, 2 * f, tile.mu);
  make_inputs(args, first, count, rows, tile.q_norm, tile);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
