// Dispersion D3: counts for coordination numbers, and damped pairs. Compiled once for each instruction set, as
// kernels.cpp.
#include "d3_kernels.h"
#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> static inline real total(vec<real> x) {
  real sum = 0;
  for (int k = 0; k < lanes<real>; k++) sum += x[k];
  return sum;
}

template <class real> static void d3_counts(const D3Counts<real> &p) {
  constexpr int L = lanes<real>;
  for (int k = 0; k < p.n; k += L) {
    const vec<real> x = load(p.r[0] + k), y = load(p.r[1] + k), z = load(p.r[2] + k);
    const vec<real> u = x * x + y * y + z * z;
    vec<real> r;
    for (int l = 0; l < L; l++) r[l] = root(u[l]);
    const vec<real> inverse = real(1) / r;
    const vec<real> e = exponential<real>(p.steepness - p.steepness * p.radius * inverse);
    const vec<real> c = real(1) / (real(1) + e);
    store(p.count + k, c);
    store(p.by_square + k, real(-0.5) * p.steepness * p.radius * inverse * inverse * inverse * c * c * e);
  }
}

// Of C6 = 1 at u = r^2: minus the energy, and its slope by u.
template <bool becke_johnson, class real>
static inline void d3_damped(const D3Pairs<real> &p, vec<real> u, vec<real> &value, vec<real> &slope) {
  const vec<real> u2 = u * u, u3 = u2 * u, u4 = u2 * u2;
  if constexpr (becke_johnson) {
    const vec<real> i6 = real(1) / (u3 + p.d6), i8 = real(1) / (u4 + p.d8);
    const vec<real> a = p.s6 * i6, b = p.s8 * i8;
    value = a + b;
    slope = real(-3) * u2 * a * i6 - real(4) * u3 * b * i8;
  } else {
    const vec<real> u7 = u4 * u3, u8 = u4 * u4;
    const vec<real> i6 = real(1) / (u7 + p.d6), i8 = real(1) / (u8 + p.d8);
    const vec<real> a = p.s6 * i6, b = p.s8 * i8;
    value = u4 * (a + b);
    slope = u3 * (a * i6 * (real(4) * p.d6 - real(3) * u7) + b * i8 * (real(4) * (p.d8 - u8)));
  }
}

template <bool becke_johnson, bool slopes, class real> static void d3_pairs(D3Pairs<real> &p) {
  vec<real> sums[11] = {};
  for (int k = 0; k < p.n; k += lanes<real>) {
    const vec<real> r[3] = {load(p.r[0] + k), load(p.r[1] + k), load(p.r[2] + k)};
    vec<real> value, slope;
    d3_damped<becke_johnson>(p, r[0] * r[0] + r[1] * r[1] + r[2] * r[2], value, slope);
    vec<real> c6 = vec<real>{} + p.c6, of_centre = vec<real>{} + p.slope, of_partner{};
    for (int w = 0; w < p.n_weights; w++) {
      const vec<real> weight = load(p.weight[w] + k);
      c6 += p.change[w] * weight;
      if (!slopes) continue;
      of_centre += p.slope_change[w] * weight;
      of_partner += p.change[w] * load(p.weight_slope[w] + k);
    }
    const vec<real> energy = -c6 * value, pull = real(2) * c6 * slope;
    const vec<real> f[3] = {pull * r[0], pull * r[1], pull * r[2]};
    store(p.energy + k, energy);
    sums[0] += energy;
    for (int d = 0; d < 3; d++) {
      store(p.force[d] + k, f[d]);
      sums[1 + d] += f[d];
      sums[4 + d] += r[d] * f[d];
    }
    sums[7] += r[0] * f[1];
    sums[8] += r[0] * f[2];
    sums[9] += r[1] * f[2];
    if (!slopes) continue;
    sums[10] -= of_centre * value;
    store(p.by_partner + k, -of_partner * value);
  }
  for (int s = 0; s < 11; s++) p.sums[s] = total<real>(sums[s]);
}

void fill(D3Kernels &k) {
  k.lanes = lanes<double>;
  k.counts = d3_counts<double>;
  k.pairs[false][false] = d3_pairs<false, false, double>;
  k.pairs[false][true] = d3_pairs<false, true, double>;
  k.pairs[true][false] = d3_pairs<true, false, double>;
  k.pairs[true][true] = d3_pairs<true, true, double>;
}

}  // namespace tlmd::engine::TLMD_ISA
