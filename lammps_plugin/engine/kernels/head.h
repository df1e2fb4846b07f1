// The kernel head: energies of atoms from functions of their scaled scalar features x, and dE/d(features), one tile of
// atoms at a time. With p = x W + bias: fourier cos(p) and sin(p), gaussian exp(p - parameter |x|^2), polynomial
// p^parameter; linear: x itself.
#ifndef TLMD_ENGINE_HEAD_H
#define TLMD_ENGINE_HEAD_H

#include "gemm.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> struct Turns;  // pi/2 in three parts, terms of the series
template <> struct Turns<float> {
  static constexpr float part[3] = {1.5703125f, 4.837512969970703125e-4f, 7.549789948768648e-8f};
  static constexpr int terms = 6;
};
template <> struct Turns<double> {
  static constexpr double part[3] = {1.57079631090164184570, 1.58932547122958567343e-8, 6.12323399573676603587e-17};
  static constexpr int terms = 10;
};

// cos x and sin x: x = n pi/2 + r, |r| <= pi/4; Taylor series of r, quadrant by the bits of n.
template <class real> static inline void cosine_and_sine(vec<real> x, vec<real> &cosine, vec<real> &sine) {
  using T = Types<real>;
  using bits = typename T::bits;
  const vec<real> shifted = x * real(0.63661977236758134308) + T::shifter, n = shifted - T::shifter;
  vec<real> r = x;
  for (real part : Turns<real>::part) r -= n * part;
  const vec<real> r2 = r * r;
  vec<real> c = vec<real>{} + real(1), s = c;
  for (int k = Turns<real>::terms; k > 0; k--) {
    c = real(1) - r2 * real(1.0 / (2 * k * (2 * k - 1))) * c;
    s = real(1) - r2 * real(1.0 / (2 * k * (2 * k + 1))) * s;
  }
  s *= r;
  const bits quadrant = (bits) shifted;
  const auto swap = (quadrant & 1) != 0;
  const vec<real> abs_cosine = swap ? s : c, abs_sine = swap ? c : s;  // but for the sign of the quadrant
  cosine = ((quadrant + 1) & 2) != 0 ? -abs_cosine : abs_cosine;
  sine = (quadrant & 2) != 0 ? -abs_sine : abs_sine;
}

template <class real> static inline double lane_sum(vec<real> x) {
  double sum = 0;
  for (int k = 0; k < lanes<real>; k++) sum += x[k];
  return sum;
}

// One atom: the sum of weight times function. p (n_out) becomes weight times slope.
template <class real>
static inline double weighted_functions(const KernelHead<real> &h, const real *weight, real square, real *p) {
  constexpr int n = lanes<real>;
  vec<real> sum{};
  for (int c = 0; c < h.n_out; c += n) {
    const vec<real> w = load(weight + c), x = load(p + c);
    if (h.function == FOURIER) {
      const vec<real> w_sine = load(weight + h.n_out + c);
      vec<real> cosine, sine;
      cosine_and_sine<real>(x, cosine, sine);
      sum += w * cosine + w_sine * sine;
      store(p + c, w_sine * cosine - w * sine);
    } else if (h.function == GAUSSIAN) {
      const vec<real> value = w * exponential<real>(x - h.parameter * square);
      sum += value;
      store(p + c, value);
    } else if (h.function == POLYNOMIAL) {
      vec<real> power = w;
      for (int k = 1; k < (int) h.parameter; k++) power *= x;
      sum += power * x;
      store(p + c, h.parameter * power);
    } else {
      sum += w * x;
      store(p + c, w);
    }
  }
  return lane_sum<real>(sum);
}

template <class real> static void kernel_head(const KernelHead<real> &h, int first, int count) {
  constexpr int n = lanes<real>;
  const int f = h.width, k = f * h.n_layers, d = h.n_out, rows = padded(count, ROWS);
  const bool linear = h.function == LINEAR;
  real *x = h.scratch, *p = linear ? x : x + (size_t) TILE * k, *x_adjoint = linear ? x : p + (size_t) TILE * d;
  for (int a = 0; a < count; a++)
    for (int l = 0; l < h.n_layers; l++) {
      const size_t z = (size_t) h.species[first + a] * k + (size_t) l * f;
      const real *q = h.features[l] + (size_t) (first + a) * f;
      for (int c = 0; c < f; c += n)
        store(x + (size_t) a * k + l * f + c, (load(q + c) - load(h.shift + z + c)) * load(h.factor + z + c));
    }
  if (!linear) multiply(x, k, rows, h.points.forward, p, d);
  double energy[TILE];
  for (int a = 0; a < count; a++) {
    vec<real> square{};
    for (int c = 0; c < k; c += n) square += load(x + (size_t) a * k + c) * load(x + (size_t) a * k + c);
    const real *weight = h.weights + (size_t) h.species[first + a] * h.n_weights;
    energy[a] = weighted_functions(h, weight, (real) lane_sum<real>(square), p + (size_t) a * d);
    h.energies[first + a] += energy[a];
  }
  if (!linear) multiply(p, d, rows, h.points.reverse, x_adjoint, k);
  for (int a = 0; a < count; a++) {
    const int z = h.species[first + a];
    const real scale = h.scale[z], pull = h.function == GAUSSIAN ? (real) (2 * h.parameter * energy[a]) : real(0);
    for (int l = 0; l < h.n_layers; l++)
      for (int c = 0; c < f; c += n) {
        const size_t at = (size_t) a * k + l * f + c;
        const vec<real> slope = load(x_adjoint + at) - pull * load(x + at);
        store(h.adjoints[l] + (size_t) (first + a) * f + c,
              scale * slope * load(h.factor + (size_t) z * k + l * f + c));
      }
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
