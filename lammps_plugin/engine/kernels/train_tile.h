// A tile of atoms in the tangents of the update: its buffers, and what the layer keeps of it.
#ifndef TLMD_ENGINE_TRAIN_TILE_H
#define TLMD_ENGINE_TRAIN_TILE_H

#include "train_dense.h"
#include "update_tile.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> struct TrainTile {
  Dual<real *> q_norm, mu, three_f, one_f, VU;  // (TILE, 2F), (3 TILE, F), (TILE, 3F), (TILE, F), (3 TILE, 2F)
  real *q_t, *q_norm_adjoint_t;                 // (TILE, F), (TILE, 2F)

  TrainTile(real *scratch, int f) {
    auto take = [&](size_t width) {
      real *part = scratch;
      scratch += TILE * width * f;
      return part;
    };
    for (real **half : {&q_norm.v, &q_norm.t}) *half = take(2);
    for (real **half : {&mu.v, &mu.t}) *half = take(3);
    for (real **half : {&three_f.v, &three_f.t}) *half = take(3);
    for (real **half : {&one_f.v, &one_f.t}) *half = take(1);
    for (real **half : {&VU.v, &VU.t}) *half = take(6);
    q_t = take(1);
    q_norm_adjoint_t = take(2);
  }
};

// A tile's part of the arrays that stay
template <class real> static LayerStore<real> part_of(LayerStore<real> s, size_t first, size_t f) {
  auto move = [&](real *&part, size_t width) { part = part ? part + first * width * f : nullptr; };
  move(s.VU, 6), move(s.a_hidden, 1), move(s.a, 3), move(s.phi_hidden, 1), move(s.phi_vv, 1), move(s.mu, 3);
  move(s.q_in, 1), move(s.mu_in, 3), move(s.q_out, 1);
  move(s.phi_active_adjoint, 1), move(s.a_active_adjoint, 1), move(s.q_adjoint, 1), move(s.q_norm_adjoint, 2);
  return s;
}

// What a layer keeps of a tile: values and tangents
template <class real> struct Kept : Dual<LayerStore<real>> {
  Kept(const TrainUpdate<real> &args, int first)
      : Dual<LayerStore<real>>{part_of(args.store.v, first, args.width), part_of(args.store.t, first, args.width)} {}
  inline Dual<real *> of(real *LayerStore<real>::*part) const { return {this->v.*part, this->t.*part}; }
};

// [q, |V|] of a tile
template <class real> static void q_and_norm(const Kept<real> &k, int f, int count, real epsilon2, Dual<real *> out) {
  constexpr int n = lanes<real>;
  for (int a = 0; a < count; a++) {
    const Dual<real *> row = out + (size_t) a * 2 * f, VU = k.of(&LayerStore<real>::VU) + (size_t) a * 6 * f;
    for (int c = 0; c < f; c += n) {
      vec<real> square{}, change{};
      for (int d = 0; d < 3; d++) {
        const vec<real> V = load(VU.v + 2 * d * f + c);
        square += V * V;
        change += V * load(VU.t + 2 * d * f + c);
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

// V mu, U mu of a channel with their tangents, and their product
template <class real> struct TrainMixed {
  Mixed<real> v, t;
  vec<real> UV_t;

  TrainMixed(const Kept<real> &k, int f, int a, int c)
      : v(k.v.VU + (size_t) a * 6 * f, f, c), t(k.t.VU + (size_t) a * 6 * f, f, c) {
    UV_t = t.V[0] * v.U[0] + t.V[1] * v.U[1] + t.V[2] * v.U[2] + v.V[0] * t.U[0] + v.V[1] * t.U[1] + v.V[2] * t.U[2];
  }
};

}  // namespace tlmd::engine::TLMD_ISA
#endif
