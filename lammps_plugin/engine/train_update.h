// The update of training: one tile of atoms, values with their tangents, forward and in reverse, and the gradients of
// the dense layers. The names are those of update.h.
#ifndef TLMD_ENGINE_TRAIN_UPDATE_H
#define TLMD_ENGINE_TRAIN_UPDATE_H

#include "update.h"

namespace tlmd::engine::TLMD_ISA {

constexpr int OUTER = TLMD_VECTOR_BYTES == 64 ? 8 : 4;  // rows x two vectors of a gradient in registers; divides PAD

// gradient (k, n) += x (rows, k)^T y (rows, n)
template <class real>
static void outer(const real *x, int ldx, const real *y, int ldy, int rows, int k, int n, real *gradient) {
  constexpr int l = lanes<real>;
  for (int c = 0; c < n; c += 2 * l)
    for (int b = 0; b < k; b += OUTER) {
      real *g = gradient + (size_t) b * n + c;
      vec<real> sum[OUTER][2];
#pragma GCC unroll 8
      for (int r = 0; r < OUTER; r++) sum[r][0] = load(g + (size_t) r * n), sum[r][1] = load(g + (size_t) r * n + l);
      for (int a = 0; a < rows; a++) {
        const vec<real> y0 = load(y + (size_t) a * ldy + c), y1 = load(y + (size_t) a * ldy + c + l);
#pragma GCC unroll 8
        for (int r = 0; r < OUTER; r++) {
          const real v = x[(size_t) a * ldx + b + r];
          sum[r][0] += v * y0;
          sum[r][1] += v * y1;
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < OUTER; r++) store(g + (size_t) r * n, sum[r][0]), store(g + (size_t) r * n + l, sum[r][1]);
    }
}

template <class real> static inline Twin<real> operator+(Twin<real> x, size_t n) { return {x.v + n, x.t + n}; }

template <class real> static Matrix<real> plain(Matrix<real> w) {
  w.bias = nullptr;
  return w;
}

// Both of a twin times the matrix; the bias has no tangent.
template <class real>
static void multiply(Twin<real> x, int ldx, int rows, const Matrix<real> &w, Twin<real> y, int ldy, bool add = false) {
  multiply(x.v, ldx, rows, w, y.v, ldy, add);
  multiply(x.t, ldx, rows, plain(w), y.t, ldy, add);
}

// The tangents of the gradients of a dense layer, from its input x and the adjoint of its output.
template <class real>
static void add_gradient(Twin<real> x, int ldx, Twin<real> adjoint, int ldy, int rows, int k, int n, real *weight,
                         real *bias) {
  outer(x.v, ldx, adjoint.t, ldy, rows, k, n, weight);
  outer(x.t, ldx, adjoint.v, ldy, rows, k, n, weight);
  if (!bias) return;
  for (int a = 0; a < rows; a++)
    for (int c = 0; c < n; c += lanes<real>) add_to(bias + c, load(adjoint.t + (size_t) a * ldy + c));
}

// SiLU and its first two derivatives
template <class real> struct Silu {
  vec<real> value, slope, curve;

  explicit Silu(vec<real> x) {
    const vec<real> s = sigmoid<real>(x), one = s * (real(1) - s);
    value = x * s;
    slope = s + x * one;
    curve = one * (real(2) + x * (real(1) - real(2) * s));
  }
};

template <class real> static void activate(Twin<real> x, Twin<real> y, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const Silu<real> silu(load(x.v + c));
    store(y.v + c, silu.value);
    store(y.t + c, silu.slope * load(x.t + c));
  }
}

template <class real> static void activate_back(Twin<real> x, Twin<real> adjoint, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const Silu<real> silu(load(x.v + c));
    const vec<real> outer = load(adjoint.v + c);
    store(adjoint.v + c, outer * silu.slope);
    store(adjoint.t + c, load(adjoint.t + c) * silu.slope + outer * silu.curve * load(x.t + c));
  }
}

template <class real> struct TrainScratch {
  Twin<real> qn, x, q, mu, three, one,
      vu;  // (TILE, 2F) twice, (TILE, F), (3 TILE, F), (TILE, 3F), (TILE, F), (3 TILE, 2F)

  TrainScratch(real *p, int f) {
    Twin<real> *parts[7] = {&qn, &x, &q, &mu, &three, &one, &vu};
    const int widths[7] = {2, 2, 1, 3, 3, 1, 6};
    for (int k = 0; k < 7; k++)
      for (real **half : {&parts[k]->v, &parts[k]->t}) {
        *half = p;
        p += (size_t) TILE * widths[k] * f;
      }
  }
};

// A tile's part of the arrays that stay
template <class real> static TrainStore<real> part_of(const TrainStore<real> &s, size_t first, size_t f) {
  return {s.q + first * f,          s.mu + first * 3 * f,    s.vu + first * 6 * f,
          s.hidden + first * f,     s.mixed + first * 3 * f, s.q_out + first * f,
          s.mu_out + first * 3 * f, s.context + first * f,   s.phi + first * 3 * f};
}

// [q, |V|] of a tile
template <class real> static void scalars(const TrainStore<real> &k, int f, int count, Twin<real> qn) {
  constexpr int n = lanes<real>;
  for (int a = 0; a < count; a++) {
    const Twin<real> row = qn + (size_t) a * 2 * f, vu = k.vu + (size_t) a * 6 * f;
    for (int c = 0; c < f; c += n) {
      vec<real> square{}, change{};
      for (int d = 0; d < 3; d++) {
        const vec<real> v = load(vu.v + 2 * d * f + c);
        square += v * v;
        change += v * load(vu.t + 2 * d * f + c);
      }
      store(row.v + f + c, square + real(NORM_EPS));
      store(row.t + f + c, change);
      store(row.v + c, load(k.q.v + (size_t) a * f + c));
      store(row.t + c, load(k.q.t + (size_t) a * f + c));
    }
    for (int c = f; c < 2 * f; c++) {
      row.v[c] = root(row.v[c]);
      row.t[c] /= row.v[c];
    }
  }
}

// V, U of a channel with their tangents, and their product
template <class real> struct TrainMixed {
  Mixed<real> v, t;
  vec<real> dot_t;

  TrainMixed(Twin<real> vu, int f, int c) : v(vu.v, f, c), t(vu.t, f, c) {
    dot_t = t.v[0] * v.u[0] + t.v[1] * v.u[1] + t.v[2] * v.u[2] + v.v[0] * t.u[0] + v.v[1] * t.u[1] + v.v[2] * t.u[2];
  }
};

// q and mu after the layer
template <class real> static void mix_channels(const TrainStore<real> &k, int f, int count, bool last) {
  constexpr int n = lanes<real>;
  const int sv_at = last ? f : 2 * f;
  for (int a = 0; a < count; a++) {
    const Twin<real> m = k.mixed + (size_t) a * 3 * f, q = k.q + (size_t) a * f, out = k.q_out + (size_t) a * f;
    for (int c = 0; c < f; c += n) {
      const TrainMixed<real> x(k.vu + (size_t) a * 6 * f, f, c);
      const vec<real> sv = load(m.v + sv_at + c);
      store(out.v + c, load(q.v + c) + load(m.v + c) + sv * x.v.dot);
      store(out.t + c, load(q.t + c) + load(m.t + c) + load(m.t + sv_at + c) * x.v.dot + sv * x.dot_t);
      if (last) continue;
      const vec<real> vv = load(m.v + f + c), vv_t = load(m.t + f + c);
      for (int d = 0; d < 3; d++) {
        const size_t at = ((size_t) a * 3 + d) * f + c;
        store(k.mu_out.v + at, load(k.mu.v + at) + vv * x.v.u[d]);
        store(k.mu_out.t + at, load(k.mu.t + at) + vv_t * x.v.u[d] + vv * x.t.u[d]);
      }
    }
  }
}

template <class real> static void train_forward(const TrainUpdate<real> &t, int first, int count) {
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS);
  const LayerWeights<real> &w = *t.weights;
  const TrainScratch<real> s(t.scratch, f);
  const TrainStore<real> k = part_of(t.store, first, f);
  state_rows<false>(t.state.v, t.n_atoms, f, first, count, k.q.v, f, k.mu.v);
  state_rows<false>(t.state.t, t.n_atoms, f, first, count, k.q.t, f, k.mu.t);
  multiply(k.mu, f, 3 * rows, w.mix, k.vu, 2 * f);
  scalars(k, f, count, s.qn);
  multiply(s.qn, 2 * f, rows, w.update0, k.hidden, f);
  activate(k.hidden, s.one, (size_t) count * f);
  multiply(s.one, f, rows, w.update2, k.mixed, 3 * f);
  mix_channels(k, f, count, t.last);
  multiply(k.q_out, f, rows, w.context0, k.context, f);
  activate(k.context, s.one, (size_t) count * f);
  if (t.last) {
    for (int a = 0; a < count; a++) {
      double e = w.energy_bias, e_t = 0;
      for (int c = 0; c < w.context0.n; c++) {
        e += (double) s.one.v[(size_t) a * f + c] * w.energy[c];
        e_t += (double) s.one.t[(size_t) a * f + c] * w.energy[c];
      }
      t.energies[first + a] = e;
      t.energies_t[first + a] = e_t;
    }
    return;
  }
  state_rows<true>(t.state.v, t.n_atoms, f, first, count, k.q_out.v, f, k.mu_out.v);
  state_rows<true>(t.state.t, t.n_atoms, f, first, count, k.q_out.t, f, k.mu_out.t);
  multiply(s.one, f, rows, w.context2, k.phi, 3 * f);
  for (int c = 0; c < f; c += n)
    for (int a = 0; a < count; a++) {
      const size_t at = (((size_t) c / n) * t.n_atoms + first + a) * 5 * n;
      const Twin<real> row = t.inputs + at, phi = k.phi + (size_t) a * 3 * f + c;
      const vec<real> vv = load(phi.v + 2 * f), vv_t = load(phi.t + 2 * f);
      for (int part = 0; part < 2; part++) {
        store(row.v + part * n, load(phi.v + part * f));
        store(row.t + part * n, load(phi.t + part * f));
      }
      for (int d = 0; d < 3; d++) {
        const size_t mu = ((size_t) a * 3 + d) * f + c;
        store(row.v + (2 + d) * n, vv * load(k.mu_out.v + mu));
        store(row.t + (2 + d) * n, vv_t * load(k.mu_out.v + mu) + vv * load(k.mu_out.t + mu));
      }
    }
}

// Adjoints of q and mu after the last layer, from the energies: s.q
template <class real>
static void energy_back(const TrainUpdate<real> &t, const TrainStore<real> &k, int first, int count,
                        const TrainScratch<real> &s) {
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS), h = t.weights->context0.n;
  const LayerWeights<real> &w = *t.weights;
  activate(k.context, s.one, (size_t) count * f);
  for (int a = 0; a < count; a++) {
    const real seed = t.scale[t.species[first + a]], seed_t = seed * t.seeds[first + a];
    const Twin<real> row = s.one + (size_t) a * f;
    for (int c = 0; c < h; c += n) {
      add_to(t.gradients.energy + c, seed_t * load(row.v + c) + seed * load(row.t + c));
      store(row.v + c, seed * load(w.energy + c));
      store(row.t + c, seed_t * load(w.energy + c));
    }
    *t.gradients.energy_bias += seed_t;
    activate_back(k.context + (size_t) a * f, row, h);
  }
  add_gradient(k.q_out, f, s.one, f, count, f, h, t.gradients.context0, t.gradients.context0_bias);
  multiply(s.one, f, rows, w.context0_t, s.q, f);
}

// The same after any other layer, from the next layer's inputs and sums: s.q and s.mu
template <class real>
static void inputs_back(const TrainUpdate<real> &t, const TrainStore<real> &k, int first, int count,
                        const TrainScratch<real> &s) {
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS);
  const LayerWeights<real> &w = *t.weights;
  state_rows<false>(t.state.v, t.n_atoms, f, first, count, s.q.v, f, s.mu.v);
  state_rows<false>(t.state.t, t.n_atoms, f, first, count, s.q.t, f, s.mu.t);
  for (int c = 0; c < f; c += n)
    for (int a = 0; a < count; a++) {
      const size_t at = (((size_t) c / n) * t.n_atoms + first + a) * 5 * n;
      const Twin<real> row = t.adjoints + at, vv_at = k.phi + (size_t) a * 3 * f + 2 * f + c;
      const Twin<real> three = s.three + (size_t) a * 3 * f + c;
      const vec<real> vv = load(vv_at.v), vv_t = load(vv_at.t);
      vec<real> sum{}, sum_t{};
      for (int d = 0; d < 3; d++) {
        const size_t mu = ((size_t) a * 3 + d) * f + c;
        const vec<real> g = load(row.v + (2 + d) * n), g_t = load(row.t + (2 + d) * n);
        sum += g * load(k.mu_out.v + mu);
        sum_t += g_t * load(k.mu_out.v + mu) + g * load(k.mu_out.t + mu);
        add_to(s.mu.v + mu, g * vv);
        add_to(s.mu.t + mu, g_t * vv + g * vv_t);
      }
      for (int part = 0; part < 2; part++) {
        store(three.v + part * f, load(row.v + part * n));
        store(three.t + part * f, load(row.t + part * n));
      }
      store(three.v + 2 * f, sum);
      store(three.t + 2 * f, sum_t);
    }
  activate(k.context, s.one, (size_t) count * f);
  add_gradient(s.one, f, s.three, 3 * f, count, f, 3 * f, t.gradients.context2, t.gradients.context2_bias);
  multiply(s.three, 3 * f, rows, w.context2_t, s.one, f);
  activate_back(k.context, s.one, (size_t) count * f);
  add_gradient(k.q_out, f, s.one, f, count, f, f, t.gradients.context0, t.gradients.context0_bias);
  multiply(s.one, f, rows, w.context0_t, s.q, f, true);
}

// Adjoints of ss, vv, sv of a tile: s.three
template <class real>
static void mixed_back(const TrainUpdate<real> &t, const TrainStore<real> &k, int count, const TrainScratch<real> &s) {
  const int f = t.width, sv_at = t.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k.vu + (size_t) a * 6 * f, f, c);
      const vec<real> q = load(s.q.v + (size_t) a * f + c), q_t = load(s.q.t + (size_t) a * f + c);
      const Twin<real> three = s.three + (size_t) a * 3 * f + c;
      store(three.v, q);
      store(three.t, q_t);
      store(three.v + sv_at, q * x.v.dot);
      store(three.t + sv_at, q_t * x.v.dot + q * x.dot_t);
      if (t.last) continue;
      vec<real> vv{}, vv_t{};
      for (int d = 0; d < 3; d++) {
        const size_t at = ((size_t) a * 3 + d) * f + c;
        const vec<real> mu = load(s.mu.v + at);
        vv += mu * x.v.u[d];
        vv_t += load(s.mu.t + at) * x.v.u[d] + mu * x.t.u[d];
      }
      store(three.v + f, vv);
      store(three.t + f, vv_t);
    }
}

// Adjoints of V and U of a tile from those of the scalars (s.x), q and mu: s.vu; s.q gets what came through the scalars
template <class real>
static void vectors_back(const TrainUpdate<real> &t, const TrainStore<real> &k, int count,
                         const TrainScratch<real> &s) {
  const int f = t.width, sv_at = t.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k.vu + (size_t) a * 6 * f, f, c);
      const Twin<real> q = s.q + (size_t) a * f + c, m = k.mixed + (size_t) a * 3 * f + c;
      const Twin<real> norm = s.qn + ((size_t) a * 2 + 1) * f + c, scalar = s.x + (size_t) a * 2 * f + c;
      const vec<real> sv = load(m.v + sv_at), dot = load(q.v) * sv;
      const vec<real> dot_t = load(q.t) * sv + load(q.v) * load(m.t + sv_at);
      const vec<real> one = real(1) / load(norm.v), along = load(scalar.v + f) * one;
      const vec<real> along_t = (load(scalar.t + f) - along * load(norm.t)) * one;
      add_to(q.v, load(scalar.v));
      add_to(q.t, load(scalar.t));
      for (int d = 0; d < 3; d++) {
        const size_t row = (size_t) a * 3 + d, at = row * 2 * f + c;
        vec<real> u = dot * x.v.v[d], u_t = dot_t * x.v.v[d] + dot * x.t.v[d];
        if (!t.last) {
          const vec<real> vv = load(m.v + f), mu = load(s.mu.v + row * f + c);
          u += vv * mu;
          u_t += load(m.t + f) * mu + vv * load(s.mu.t + row * f + c);
        }
        store(s.vu.v + at, dot * x.v.u[d] + along * x.v.v[d]);
        store(s.vu.t + at, dot_t * x.v.u[d] + dot * x.t.u[d] + along_t * x.v.v[d] + along * x.t.v[d]);
        store(s.vu.v + at + f, u);
        store(s.vu.t + at + f, u_t);
      }
    }
}

template <class real> static void train_backward(const TrainUpdate<real> &t, int first, int count) {
  const int f = t.width, rows = padded(count, ROWS), parts = t.last ? 2 : 3;
  const LayerWeights<real> &w = *t.weights;
  const TrainGradients<real> &g = t.gradients;
  const TrainScratch<real> s(t.scratch, f);
  const TrainStore<real> k = part_of(t.store, first, f);
  if (t.last)
    energy_back(t, k, first, count, s);
  else
    inputs_back(t, k, first, count, s);
  mixed_back(t, k, count, s);
  activate(k.hidden, s.one, (size_t) count * f);
  add_gradient(s.one, f, s.three, 3 * f, count, f, parts * f, g.update2, g.update2_bias);
  multiply(s.three, 3 * f, rows, w.update2_t, s.one, f);
  activate_back(k.hidden, s.one, (size_t) count * f);
  scalars(k, f, count, s.qn);
  add_gradient(s.qn, 2 * f, s.one, f, count, 2 * f, f, g.update0, g.update0_bias);
  multiply(s.one, f, rows, w.update0_t, s.x, 2 * f);
  vectors_back(t, k, count, s);
  add_gradient(k.mu, f, s.vu, 2 * f, 3 * count, f, 2 * f, g.mix, (real *) nullptr);
  multiply(s.vu, 2 * f, 3 * rows, w.mix_t, s.mu, f, !t.last);
  state_rows<true>(t.state.v, t.n_atoms, f, first, count, s.q.v, f, s.mu.v);
  state_rows<true>(t.state.t, t.n_atoms, f, first, count, s.q.t, f, s.mu.t);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
