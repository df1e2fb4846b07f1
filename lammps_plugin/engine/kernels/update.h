// Mixing of the channels of single atoms, eqs. 9 and 10 of the PaiNN paper, with what leads to the next layer's message
// (or, after the last layer, to the energy) fused behind it: one tile of atoms at a time, in cache.
#ifndef TLMD_ENGINE_UPDATE_H
#define TLMD_ENGINE_UPDATE_H

#include "gemm.h"

namespace tlmd::engine::TLMD_ISA {

// Tile buffers, row-major; rows of vectors are atom * 3 + component.
template <class real> struct Scratch {
  real *qn, *mu, *vu, *three, *one;  // (TILE, 2F), (3 TILE, F), (3 TILE, 2F), (TILE, 3F), (TILE, F)

  Scratch(real *p, int f)
      : qn(p), mu(p + 2 * TILE * f), vu(mu + 3 * TILE * f), three(vu + 6 * TILE * f), one(three + 3 * TILE * f) {}
};

// Rows of q (ld numbers apart) and mu (f apart) of a tile from, or to, the blocked state of n_atoms atoms.
template <bool write, class real>
static inline void state_rows(real *state, int n_atoms, int f, int first, int count, real *q, int ld, real *mu) {
  constexpr int n = lanes<real>;
  for (int c = 0; c < f; c += n) {
    real *row = state + ((size_t) c / n * n_atoms + first) * 4 * n;
    for (int a = 0; a < count; a++, row += 4 * n)
      for (int k = 0; k < 4; k++) {
        real *flat = k == 0 ? q + (size_t) a * ld + c : mu + ((size_t) a * 3 + k - 1) * f + c;
        if (write)
          store(row + k * n, load(flat));
        else
          store(flat, load(row + k * n));
      }
  }
}

template <class real> static inline void activate(const real *x, real *y, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const vec<real> v = load(x + c);
    store(y + c, v * sigmoid<real>(v));
  }
}

template <class real> static inline void activate_back(const real *x, const real *outer, real *adjoint, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) store(adjoint + c, load(outer + c) * silu_slope<real>(load(x + c)));
}

// Rows of a tile, `ld` numbers apart, to their place in an array (N, width) that stays, if it is there.
template <class real> static inline void keep(const real *from, int ld, int first, int count, int width, real *array) {
  if (!array) return;
  for (int a = 0; a < count; a++)
    __builtin_memcpy(array + (size_t) (first + a) * width, from + (size_t) a * ld, sizeof(real) * width);
}

// A tile's rows in an array (N, width) that stays, or, without it, in scratch memory.
template <class real> static inline real *kept_or(real *array, int first, int width, real *scratch) {
  return array ? array + (size_t) first * width : scratch;
}

// V, U of channel c of an atom and what is made of them
template <class real> struct Mixed {
  vec<real> v[3], u[3], dot;

  Mixed(const real *vu, int f, int c) {
    for (int k = 0; k < 3; k++) v[k] = load(vu + 2 * k * f + c), u[k] = load(vu + (2 * k + 1) * f + c);
    dot = v[0] * u[0] + v[1] * u[1] + v[2] * u[2];
  }
};

// q' and mu' of a tile after the message, and V, U
template <class real> static inline void mix(const Update<real> &t, int first, int count, int rows, Scratch<real> &s) {
  const int f = t.width;
  const LayerWeights<real> &w = *t.weights;
  real *vu = t.store.vu + (size_t) first * 6 * f;
  if (t.moments) {
    const Moments<real> &m = *t.moments;
    multiply(m.scalar + (size_t) first * m.pitch, m.pitch, rows, w.scalar, s.qn, 2 * f);
    multiply(m.vector + (size_t) first * 3 * m.pitch, m.pitch, 3 * rows, w.vector, s.mu, f);
    for (int a = 0; a < count; a++) {
      const real *q0 = t.embedding + (size_t) t.species[first + a] * f;
      for (int c = 0; c < f; c += lanes<real>) add_to(s.qn + (size_t) a * 2 * f + c, load(q0 + c));
    }
    if (w.folded.packed)
      return multiply(m.vector + (size_t) first * 3 * m.pitch, m.pitch, 3 * rows, w.folded, vu, 2 * f);
  } else {
    state_rows<false>(t.state, t.n_owned, f, first, count, s.qn, 2 * f, s.mu);
  }
  keep(s.qn, 2 * f, first, count, f, t.store.q_in);
  keep(s.mu, 3 * f, first, count, 3 * f, t.store.mu_in);
  multiply(s.mu, f, 3 * rows, w.mix, vu, 2 * f);
}

// After the last layer: energies from the scalars in `q` (rows, 2F apart)
template <class real>
static inline void read_out(const Update<real> &t, int first, int count, int rows, const real *q, real *work) {
  const int f = t.width, h = t.weights->context0.n;
  real *hidden = t.store.context + (size_t) first * f;
  multiply(q, 2 * f, rows, t.weights->context0, hidden, f);
  for (int a = 0; a < count; a++) {
    activate(hidden + (size_t) a * f, work, h);
    double e = t.weights->energy_bias;
    for (int c = 0; c < h; c++) e += (double) work[c] * t.weights->energy[c];
    t.energies[first + a] = e;
  }
}

// Inputs of the next layer's message from q (rows 2F apart) and mu of a tile
template <class real>
static inline void make_inputs(const Update<real> &t, int first, int count, int rows, const real *q, Scratch<real> &s) {
  constexpr int n = lanes<real>;
  const int f = t.width;
  real *hidden = t.store.context + (size_t) first * f, *phi_vv = t.store.phi_vv + (size_t) first * f;
  multiply(q, 2 * f, rows, t.weights->context0, hidden, f);
  activate(hidden, s.one, (size_t) count * f);
  multiply(s.one, f, rows, t.weights->context2, s.three, 3 * f);
  keep(s.mu, 3 * f, first, count, 3 * f, t.store.mu);
  for (int c = 0; c < f; c += n) {
    real *row = t.inputs + ((size_t) c / n * t.n_rows + first) * 5 * n;
    for (int a = 0; a < count; a++, row += 5 * n) {
      const real *phi = s.three + (size_t) a * 3 * f + c;
      const vec<real> vv = load(phi + 2 * f);
      store(row, load(phi));
      store(row + n, load(phi + f));
      store(phi_vv + (size_t) a * f + c, vv);
      for (int k = 0; k < 3; k++) store(row + (2 + k) * n, vv * load(s.mu + ((size_t) a * 3 + k) * f + c));
    }
  }
}

template <class real> static void update_forward(const Update<real> &t, int first, int count) {
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS), parts = t.last ? 2 : 3;
  Scratch<real> s(t.scratch, f);
  real *vu = t.store.vu + (size_t) first * 6 * f, *hidden = t.store.hidden + (size_t) first * f;
  real *mixed = t.store.mixed + (size_t) first * 3 * f;
  mix(t, first, count, rows, s);
  for (int a = 0; a < count; a++) {
    real *norm = s.qn + (size_t) a * 2 * f + f;
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(vu + (size_t) a * 6 * f, f, c);
      store(norm + c, x.v[0] * x.v[0] + x.v[1] * x.v[1] + x.v[2] * x.v[2] + t.weights->epsilon2);
    }
    for (int c = 0; c < f; c++) norm[c] = root(norm[c]);
  }
  multiply(s.qn, 2 * f, rows, t.weights->update0, hidden, f);
  activate(hidden, s.one, (size_t) count * f);
  multiply(s.one, f, rows, t.weights->update2, mixed, 3 * f);

  for (int a = 0; a < count; a++) {
    const real *m = mixed + (size_t) a * 3 * f;
    real *q = s.qn + (size_t) a * 2 * f, *mu = s.mu + (size_t) a * 3 * f;
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(vu + (size_t) a * 6 * f, f, c);
      add_to(q + c, load(m + c) + load(m + (parts - 1) * f + c) * x.dot);
      if (t.features) store(t.features + ((size_t) first + a) * f + c, load(q + c));
      if (t.last) continue;
      const vec<real> vv = load(m + f + c);
      for (int k = 0; k < 3; k++) add_to(mu + k * f + c, vv * x.u[k]);
    }
  }
  keep(s.qn, 2 * f, first, count, f, t.store.q_out);
  if (t.last) return read_out(t, first, count, rows, s.qn, s.one);
  state_rows<true>(t.state, t.n_owned, f, first, count, s.qn, 2 * f, s.mu);
  make_inputs(t, first, count, rows, s.qn, s);
}

// Adjoints of q (TILE rows, F apart) and mu after a layer, from the energy or from the next layer's inputs.
template <class real>
static inline void outer_adjoints(const Update<real> &t, int first, int count, int rows, real *q, Scratch<real> &s) {
  constexpr int n = lanes<real>;
  const int f = t.width;
  const real *hidden = t.store.context + (size_t) first * f;
  const real *injected = t.injected ? t.injected + (size_t) first * f : nullptr;
  if (t.last) {
    const int h = t.weights->context0.n;
    for (int a = 0; a < count; a++) {
      const real scale = t.scale[t.species[first + a]];
      for (int c = 0; c < h; c += n)
        store(s.one + (size_t) a * f + c,
              scale * load(t.weights->energy + c) * silu_slope<real>(load(hidden + (size_t) a * f + c)));
    }
    multiply(s.one, f, rows, t.weights->context0_t, q, f);
    for (int c = 0; injected && c < count * f; c += n) add_to(q + c, load(injected + c));
    return;
  }
  state_rows<false>(t.state, t.n_owned, f, first, count, q, f, s.mu);
  for (int c = 0; injected && c < count * f; c += n) add_to(q + c, load(injected + c));
  const real *phi_vv = t.store.phi_vv + (size_t) first * f, *mu = t.store.mu + (size_t) first * 3 * f;
  for (int c = 0; c < f; c += n) {
    const real *row = t.adjoints + ((size_t) c / n * t.n_rows + first) * 5 * n;
    for (int a = 0; a < count; a++, row += 5 * n) {
      real *phi = s.three + (size_t) a * 3 * f + c;
      const vec<real> vv = load(phi_vv + (size_t) a * f + c);
      vec<real> sum{};
      for (int k = 0; k < 3; k++) {
        const size_t at = ((size_t) a * 3 + k) * f + c;
        const vec<real> g = load(row + (2 + k) * n);
        sum += g * load(mu + at);
        add_to(s.mu + at, g * vv);
      }
      store(phi, load(row));
      store(phi + f, load(row + n));
      store(phi + 2 * f, sum);
    }
  }
  real *one = kept_or(t.store.context_adjoint, first, f, s.one);
  multiply(s.three, 3 * f, rows, t.weights->context2_t, one, f);
  activate_back(hidden, one, s.one, (size_t) count * f);
  multiply(s.one, f, rows, t.weights->context0_t, q, f, true);
}

template <class real> static void update_backward(const Update<real> &t, int first, int count) {
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS), parts = t.last ? 2 : 3;
  Scratch<real> s(t.scratch, f);
  real *q = kept_or(t.store.q_adjoint, first, f, s.one + TILE * f), *q_in = s.one;
  real *one = kept_or(t.store.update_adjoint, first, f, s.one);
  real *scalars = kept_or(t.store.scalar_adjoint, first, 2 * f, s.qn);
  const real *vu = t.store.vu + (size_t) first * 6 * f, *hidden = t.store.hidden + (size_t) first * f;
  const real *mixed = t.store.mixed + (size_t) first * 3 * f;
  outer_adjoints(t, first, count, rows, q, s);
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(vu + (size_t) a * 6 * f, f, c);
      const vec<real> adjoint = load(q + (size_t) a * f + c);
      real *three = s.three + (size_t) a * 3 * f + c;
      store(three, adjoint);
      store(three + (parts - 1) * f, adjoint * x.dot);
      if (t.last) continue;
      vec<real> vv{};
      for (int k = 0; k < 3; k++) vv += load(s.mu + ((size_t) a * 3 + k) * f + c) * x.u[k];
      store(three + f, vv);
    }
  multiply(s.three, 3 * f, rows, t.weights->update2_t, one, f);
  activate_back(hidden, one, s.one, (size_t) count * f);
  multiply(s.one, f, rows, t.weights->update0_t, scalars, 2 * f);

  for (int a = 0; a < count; a++) {
    real *norm = s.three + (size_t) a * 3 * f;  // 1 / norm
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(vu + (size_t) a * 6 * f, f, c);
      store(norm + c, x.v[0] * x.v[0] + x.v[1] * x.v[1] + x.v[2] * x.v[2] + t.weights->epsilon2);
    }
    for (int c = 0; c < f; c++) norm[c] = real(1) / root(norm[c]);
    for (int c = 0; c < f; c += n) {
      const Mixed<real> x(vu + (size_t) a * 6 * f, f, c);
      const vec<real> outer = load(q + (size_t) a * f + c), sv = load(mixed + ((size_t) a * 3 + parts - 1) * f + c);
      const vec<real> along = load(scalars + ((size_t) a * 2 + 1) * f + c) * load(norm + c), both = outer * sv;
      store(q_in + (size_t) a * f + c, outer + load(scalars + (size_t) a * 2 * f + c));
      for (int k = 0; k < 3; k++) {
        const size_t row = (size_t) a * 3 + k;
        vec<real> u = both * x.v[k];
        if (!t.last) u += load(mixed + ((size_t) a * 3 + 1) * f + c) * load(s.mu + row * f + c);
        store(s.vu + row * 2 * f + c, both * x.u[k] + along * x.v[k]);
        store(s.vu + (row * 2 + 1) * f + c, u);
      }
    }
  }
  const bool folded = t.moments && t.weights->folded.packed;
  if (!folded) {
    multiply(s.vu, 2 * f, 3 * rows, t.weights->mix_t, s.mu, f, !t.last);
    state_rows<true>(t.state_back, t.n_owned, f, first, count, q_in, f, s.mu);
  }
  if (!t.moments) return;
  const Moments<real> &m = *t.moments;
  real *scalar = m.scalar_adjoint + (size_t) first * m.ld;
  real *vector = m.vector_adjoint + (size_t) first * 3 * m.ld;
  multiply(q_in, f, rows, t.weights->scalar_t, scalar, m.ld);
  if (folded) multiply(s.vu, 2 * f, 3 * rows, t.weights->folded_t, vector, m.ld);
  if (!folded || !t.last) multiply(s.mu, f, 3 * rows, t.weights->vector_t, vector, m.ld, folded);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
