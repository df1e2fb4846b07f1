// The tangents of the update: one tile of atoms, forward and in reverse, and the gradients of the dense layers. The
// values are those that the evaluation kept. The names are those of update.h.
#ifndef TLMD_ENGINE_TRAIN_UPDATE_H
#define TLMD_ENGINE_TRAIN_UPDATE_H

#include "update.h"

namespace tlmd::engine::TLMD_ISA {

constexpr int OUTER = TLMD_VECTOR_BYTES == 64 ? 8 : 4;  // rows x two vectors of a gradient in registers; divides PAD

// gradient (k, n) += x.v^T y.t + x.t^T y.v, x (rows, k), y (rows, n)
template <class real>
static void outer(Twin<real> x, int ldx, Twin<real> y, int ldy, int rows, int k, int n, real *gradient) {
  constexpr int l = lanes<real>;
  for (int c = 0; c < n; c += 2 * l)
    for (int b = 0; b < k; b += OUTER) {
      real *g = gradient + (size_t) b * n + c;
      vec<real> sum[OUTER][2];
#pragma GCC unroll 8
      for (int r = 0; r < OUTER; r++) sum[r][0] = load(g + (size_t) r * n), sum[r][1] = load(g + (size_t) r * n + l);
      for (const bool other : {false, true}) {
        const real *left = (other ? x.t : x.v) + b, *right = (other ? y.v : y.t) + c;
        for (int a = 0; a < rows; a++, left += ldx, right += ldy) {
          const vec<real> y0 = load(right), y1 = load(right + l);
#pragma GCC unroll 8
          for (int r = 0; r < OUTER; r++) {
            sum[r][0] += left[r] * y0;
            sum[r][1] += left[r] * y1;
          }
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < OUTER; r++) store(g + (size_t) r * n, sum[r][0]), store(g + (size_t) r * n + l, sum[r][1]);
    }
}

template <class real> static inline Twin<real> operator+(Twin<real> x, size_t n) { return {x.v + n, x.t + n}; }

// Tangents times the matrix; the bias has none.
template <class real>
static void multiply_tangents(const real *x, int ldx, int rows, Matrix<real> w, real *y, int ldy, bool add = false) {
  w.bias = nullptr;
  multiply(x, ldx, rows, w, y, ldy, add);
}

// The tangents of the gradients of a dense layer, from its input x and the adjoint of its output.
template <class real>
static void add_gradient(Twin<real> x, int ldx, Twin<real> adjoint, int ldy, int rows, int k, int n, real *weight,
                         real *bias) {
  if (weight) outer(x, ldx, adjoint, ldy, rows, k, n, weight);
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

// Values too if y.v is there.
template <class real> static void activate(Twin<real> x, Twin<real> y, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const Silu<real> silu(load(x.v + c));
    if (y.v) store(y.v + c, silu.value);
    store(y.t + c, silu.slope * load(x.t + c));
  }
}

// Adjoints of x from those of its activation: values in `outer`, tangents in adjoint.t.
template <class real> static void activate_back(Twin<real> x, const real *outer, Twin<real> adjoint, size_t n) {
  for (size_t c = 0; c < n; c += lanes<real>) {
    const Silu<real> silu(load(x.v + c));
    const vec<real> value = load(outer + c);
    store(adjoint.v + c, value * silu.slope);
    store(adjoint.t + c, load(adjoint.t + c) * silu.slope + value * silu.curve * load(x.t + c));
  }
}

template <class real> struct TrainScratch {
  Twin<real> qn, mu, three, one, vu;  // (TILE, 2F), (3 TILE, F), (TILE, 3F), (TILE, F), (3 TILE, 2F)
  real *q, *scalars;                  // tangents (TILE, F), (TILE, 2F)

  TrainScratch(real *p, int f) {
    auto take = [&](size_t width) {
      real *here = p;
      p += TILE * width * f;
      return here;
    };
    for (real **half : {&qn.v, &qn.t}) *half = take(2);
    for (real **half : {&mu.v, &mu.t}) *half = take(3);
    for (real **half : {&three.v, &three.t}) *half = take(3);
    for (real **half : {&one.v, &one.t}) *half = take(1);
    for (real **half : {&vu.v, &vu.t}) *half = take(6);
    q = take(1);
    scalars = take(2);
  }
};

// A tile's part of the arrays that stay
template <class real> static LayerStore<real> part_of(LayerStore<real> s, size_t first, size_t f) {
  auto move = [&](real *&part, size_t width) { part = part ? part + first * width * f : nullptr; };
  move(s.vu, 6), move(s.hidden, 1), move(s.mixed, 3), move(s.context, 1), move(s.phi_vv, 1), move(s.mu, 3);
  move(s.q_in, 1), move(s.mu_in, 3), move(s.q_out, 1);
  move(s.context_adjoint, 1), move(s.update_adjoint, 1), move(s.q_adjoint, 1), move(s.scalar_adjoint, 2);
  return s;
}

// What a layer keeps of a tile
template <class real> struct Kept {
  LayerStore<real> v, t;

  Kept(const TrainUpdate<real> &u, int first)
      : v(part_of(u.store, first, u.width)), t(part_of(u.store_t, first, u.width)) {}
  inline Twin<real> of(real *LayerStore<real>::*part) const { return {v.*part, t.*part}; }
};

// [q, |V|] of a tile
template <class real> static void scalars(const Kept<real> &k, int f, int count, real epsilon2, Twin<real> qn) {
  constexpr int n = lanes<real>;
  for (int a = 0; a < count; a++) {
    const Twin<real> row = qn + (size_t) a * 2 * f, vu = k.of(&LayerStore<real>::vu) + (size_t) a * 6 * f;
    for (int c = 0; c < f; c += n) {
      vec<real> square{}, change{};
      for (int d = 0; d < 3; d++) {
        const vec<real> v = load(vu.v + 2 * d * f + c);
        square += v * v;
        change += v * load(vu.t + 2 * d * f + c);
      }
      store(row.v + f + c, square + epsilon2);
      store(row.t + f + c, change);
      store(row.v + c, load(k.v.q_in + (size_t) a * f + c));
      store(row.t + c, load(k.t.q_in + (size_t) a * f + c));
    }
    for (int c = f; c < 2 * f; c++) row.v[c] = root(row.v[c]);
    for (int c = f; c < 2 * f; c += n) store(row.t + c, load(row.t + c) / load(row.v + c));
  }
}

// V, U of a channel with their tangents, and their product
template <class real> struct TrainMixed {
  Mixed<real> v, t;
  vec<real> dot_t;

  TrainMixed(const Kept<real> &k, int f, int a, int c)
      : v(k.v.vu + (size_t) a * 6 * f, f, c), t(k.t.vu + (size_t) a * 6 * f, f, c) {
    dot_t = t.v[0] * v.u[0] + t.v[1] * v.u[1] + t.v[2] * v.u[2] + v.v[0] * t.u[0] + v.v[1] * t.u[1] + v.v[2] * t.u[2];
  }
};

// Tangents of q and mu after the layer
template <class real> static void mix_channels(const Kept<real> &k, int f, int count, bool last) {
  const int sv_at = last ? f : 2 * f;
  for (int a = 0; a < count; a++) {
    const Twin<real> m = k.of(&LayerStore<real>::mixed) + (size_t) a * 3 * f;
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k, f, a, c);
      const size_t q = (size_t) a * f + c;
      const vec<real> sv = load(m.v + sv_at + c);
      store(k.t.q_out + q, load(k.t.q_in + q) + load(m.t + c) + load(m.t + sv_at + c) * x.v.dot + sv * x.dot_t);
      if (last) continue;
      const vec<real> vv = load(m.v + f + c), vv_t = load(m.t + f + c);
      for (int d = 0; d < 3; d++) {
        const size_t mu = ((size_t) a * 3 + d) * f + c;
        store(k.t.mu + mu, load(k.t.mu_in + mu) + vv_t * x.v.u[d] + vv * x.t.u[d]);
      }
    }
  }
}

// Tangents of the next layer's inputs from those of phi (TILE, 3F)
template <class real>
static void tangent_inputs(const TrainUpdate<real> &t, const Kept<real> &k, int first, int count, const real *three) {
  constexpr int n = lanes<real>;
  const int f = t.width;
  for (int c = 0; c < f; c += n)
    for (int a = 0; a < count; a++) {
      real *row = t.inputs + (((size_t) c / n) * t.n_atoms + first + a) * 5 * n;
      const real *phi = three + (size_t) a * 3 * f + c;
      const vec<real> vv = load(k.v.phi_vv + (size_t) a * f + c), vv_t = load(phi + 2 * f);
      store(k.t.phi_vv + (size_t) a * f + c, vv_t);
      for (int part = 0; part < 2; part++) store(row + part * n, load(phi + part * f));
      for (int d = 0; d < 3; d++) {
        const size_t mu = ((size_t) a * 3 + d) * f + c;
        store(row + (2 + d) * n, vv_t * load(k.v.mu + mu) + vv * load(k.t.mu + mu));
      }
    }
}

template <class real> static void train_forward(const TrainUpdate<real> &t, int first, int count) {
  using Store = LayerStore<real>;
  const int f = t.width, rows = padded(count, ROWS);
  const LayerWeights<real> &w = *t.weights;
  const TrainScratch<real> s(t.scratch, f);
  const Kept<real> k(t, first);
  const Twin<real> one = {nullptr, s.one.t};
  if (t.moments) {
    const Moments<real> &m = *t.moments_t;
    multiply(m.scalar + (size_t) first * m.pitch, m.pitch, rows, w.scalar, k.t.q_in, f);
    multiply(m.vector + (size_t) first * 3 * m.pitch, m.pitch, 3 * rows, w.vector, k.t.mu_in, f);
  } else {
    state_rows<false>(t.state, t.n_atoms, f, first, count, k.t.q_in, f, k.t.mu_in);
  }
  multiply(k.t.mu_in, f, 3 * rows, w.mix, k.t.vu, 2 * f);
  scalars(k, f, count, w.epsilon2, s.qn);
  multiply_tangents(s.qn.t, 2 * f, rows, w.update0, k.t.hidden, f);
  activate(k.of(&Store::hidden), one, (size_t) count * f);
  multiply_tangents(s.one.t, f, rows, w.update2, k.t.mixed, 3 * f);
  mix_channels(k, f, count, t.last);
  multiply_tangents(k.t.q_out, f, rows, w.context0, k.t.context, f);
  activate(k.of(&Store::context), one, (size_t) count * f);
  if (t.last) {
    for (int a = 0; a < count; a++) {
      double e = 0;
      for (int c = 0; c < w.context0.n; c++) e += (double) s.one.t[(size_t) a * f + c] * w.energy[c];
      t.energies_t[first + a] = e;
    }
    return;
  }
  state_rows<true>(t.state, t.n_atoms, f, first, count, k.t.q_out, f, k.t.mu);
  multiply_tangents(s.one.t, f, rows, w.context2, s.three.t, 3 * f);
  tangent_inputs(t, k, first, count, s.three.t);
}

// Tangents of the adjoints of q after the last layer, from the energies: s.q
template <class real>
static void energy_back(const TrainUpdate<real> &t, const Kept<real> &k, int first, int count,
                        const TrainScratch<real> &s) {
  using Store = LayerStore<real>;
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS), h = t.weights->context0.n;
  const LayerWeights<real> &w = *t.weights;
  activate(k.of(&Store::context), s.one, (size_t) count * f);
  for (int a = 0; a < count; a++) {
    const real seed = t.scale[t.species[first + a]], seed_t = seed * t.seeds[first + a];
    const Twin<real> row = s.one + (size_t) a * f;
    for (int c = 0; c < h; c += n) {
      if (t.gradients.energy) add_to(t.gradients.energy + c, seed_t * load(row.v + c) + seed * load(row.t + c));
      store(row.v + c, seed * load(w.energy + c));
      store(row.t + c, seed_t * load(w.energy + c));
    }
    if (t.gradients.energy_bias) *t.gradients.energy_bias += seed_t;
    activate_back(k.of(&Store::context) + (size_t) a * f, row.v, row, h);
  }
  add_gradient(k.of(&Store::q_out), f, s.one, f, count, f, h, t.gradients.context0, t.gradients.context0_bias);
  multiply(s.one.t, f, rows, w.context0_t, s.q, f);
}

// The same after any other layer, from the next layer's inputs and sums: s.q and, with its values, s.mu
template <class real>
static void inputs_back(const TrainUpdate<real> &t, const Kept<real> &k, int first, int count,
                        const TrainScratch<real> &s) {
  using Store = LayerStore<real>;
  constexpr int n = lanes<real>;
  const int f = t.width, rows = padded(count, ROWS);
  const LayerWeights<real> &w = *t.weights;
  const Twin<real> mu = k.of(&Store::mu);
  state_rows<false>(t.outer, t.n_atoms, f, first, count, s.q, f, s.mu.v);
  state_rows<false>(t.state, t.n_atoms, f, first, count, s.q, f, s.mu.t);
  for (int c = 0; c < f; c += n)
    for (int a = 0; a < count; a++) {
      const Twin<real> row = t.adjoints + (((size_t) c / n) * t.n_atoms + first + a) * 5 * n;
      const Twin<real> vv_at = k.of(&Store::phi_vv) + (size_t) a * f + c, three = s.three + (size_t) a * 3 * f + c;
      const vec<real> vv = load(vv_at.v), vv_t = load(vv_at.t);
      vec<real> sum{}, sum_t{};
      for (int d = 0; d < 3; d++) {
        const size_t at = ((size_t) a * 3 + d) * f + c;
        const vec<real> g = load(row.v + (2 + d) * n), g_t = load(row.t + (2 + d) * n);
        sum += g * load(mu.v + at);
        sum_t += g_t * load(mu.v + at) + g * load(mu.t + at);
        add_to(s.mu.v + at, g * vv);
        add_to(s.mu.t + at, g_t * vv + g * vv_t);
      }
      for (int part = 0; part < 2; part++) {
        store(three.v + part * f, load(row.v + part * n));
        store(three.t + part * f, load(row.t + part * n));
      }
      store(three.v + 2 * f, sum);
      store(three.t + 2 * f, sum_t);
    }
  activate(k.of(&Store::context), s.one, (size_t) count * f);
  add_gradient(s.one, f, s.three, 3 * f, count, f, 3 * f, t.gradients.context2, t.gradients.context2_bias);
  multiply(s.three.t, 3 * f, rows, w.context2_t, s.one.t, f);
  activate_back(k.of(&Store::context), k.v.context_adjoint, s.one, (size_t) count * f);
  add_gradient(k.of(&Store::q_out), f, s.one, f, count, f, f, t.gradients.context0, t.gradients.context0_bias);
  multiply(s.one.t, f, rows, w.context0_t, s.q, f, true);
}

// Adjoints of ss, vv, sv of a tile: s.three
template <class real>
static void mixed_back(const TrainUpdate<real> &t, const Kept<real> &k, int count, const TrainScratch<real> &s) {
  const int f = t.width, sv_at = t.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k, f, a, c);
      const vec<real> q = load(k.v.q_adjoint + (size_t) a * f + c), q_t = load(s.q + (size_t) a * f + c);
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

// Adjoints of V and U of a tile from those of the scalars, q and mu: s.vu; s.q gets what came through the scalars
template <class real>
static void vectors_back(const TrainUpdate<real> &t, const Kept<real> &k, int count, const TrainScratch<real> &s) {
  const int f = t.width, sv_at = t.last ? f : 2 * f;
  for (int a = 0; a < count; a++)
    for (int c = 0; c < f; c += lanes<real>) {
      const TrainMixed<real> x(k, f, a, c);
      const size_t at_q = (size_t) a * f + c, at_scalar = (size_t) a * 2 * f + c;
      const Twin<real> m = k.of(&LayerStore<real>::mixed) + (size_t) a * 3 * f + c;
      const Twin<real> norm = s.qn + at_scalar + f;
      const vec<real> q = load(k.v.q_adjoint + at_q), q_t = load(s.q + at_q);
      const vec<real> sv = load(m.v + sv_at), dot = q * sv, dot_t = q_t * sv + q * load(m.t + sv_at);
      const vec<real> one = real(1) / load(norm.v), along = load(k.v.scalar_adjoint + at_scalar + f) * one;
      const vec<real> along_t = (load(s.scalars + at_scalar + f) - along * load(norm.t)) * one;
      store(s.q + at_q, q_t + load(s.scalars + at_scalar));
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
  using Store = LayerStore<real>;
  const int f = t.width, rows = padded(count, ROWS), parts = t.last ? 2 : 3;
  const LayerWeights<real> &w = *t.weights;
  const TrainGradients<real> &g = t.gradients;
  const TrainScratch<real> s(t.scratch, f);
  const Kept<real> k(t, first);
  if (t.last)
    energy_back(t, k, first, count, s);
  else
    inputs_back(t, k, first, count, s);
  if (!t.deeper) return;
  mixed_back(t, k, count, s);
  activate(k.of(&Store::hidden), s.one, (size_t) count * f);
  add_gradient(s.one, f, s.three, 3 * f, count, f, parts * f, g.update2, g.update2_bias);
  multiply(s.three.t, 3 * f, rows, w.update2_t, s.one.t, f);
  activate_back(k.of(&Store::hidden), k.v.update_adjoint, s.one, (size_t) count * f);
  scalars(k, f, count, w.epsilon2, s.qn);
  add_gradient(s.qn, 2 * f, s.one, f, count, 2 * f, f, g.update0, g.update0_bias);
  multiply(s.one.t, f, rows, w.update0_t, s.scalars, 2 * f);
  vectors_back(t, k, count, s);
  add_gradient(k.of(&Store::mu_in), f, s.vu, 2 * f, 3 * count, f, 2 * f, g.mix, (real *) nullptr);
  multiply(s.vu.t, 2 * f, 3 * rows, w.mix_t, s.mu.t, f, !t.last);
  state_rows<true>(t.state, t.n_atoms, f, first, count, s.q, f, s.mu.t);
  if (!t.moments) return;
  const Moments<real> &m = *t.moments, &m_t = *t.moments_t;
  if (m_t.scalar_adjoint) {
    multiply(s.q, f, rows, w.scalar_t, m_t.scalar_adjoint + (size_t) first * m.ld, m.ld);
    multiply(s.mu.t, f, 3 * rows, w.vector_t, m_t.vector_adjoint + (size_t) first * 3 * m.ld, m.ld);
  }
  if (!g.scalar) return;
  const size_t at = (size_t) first * m.pitch;
  const int columns = padded(m.width, OUTER);
  state_rows<false>(t.inner, t.n_atoms, f, first, count, s.one.v, f, s.mu.v);
  outer<real>({m.scalar + at, m_t.scalar + at}, m.pitch, {s.one.v, s.q}, f, count, columns, f, g.scalar);
  outer<real>({m.vector + 3 * at, m_t.vector + 3 * at}, m.pitch, s.mu, f, 3 * count, columns, f, g.vector);
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
