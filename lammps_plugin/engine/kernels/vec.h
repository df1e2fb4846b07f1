// Vectors of the instruction set that this file is compiled for: namespace TLMD_ISA, vectors of TLMD_VECTOR_BYTES.
#ifndef TLMD_ENGINE_VEC_H
#define TLMD_ENGINE_VEC_H

#include "kernels.h"

#include <cstdint>
#include <utility>

namespace tlmd::engine::TLMD_ISA {

template <class real> struct Types;
template <> struct Types<float> {
  typedef float vec __attribute__((vector_size(TLMD_VECTOR_BYTES)));
  typedef float unaligned __attribute__((vector_size(TLMD_VECTOR_BYTES), aligned(4), may_alias));
  typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
  typedef int32_t bits __attribute__((vector_size(TLMD_VECTOR_BYTES)));
  static constexpr float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float largest = 87.0f;
  static constexpr int mantissa = 23, terms = 8;
};
template <> struct Types<double> {
  typedef double vec __attribute__((vector_size(TLMD_VECTOR_BYTES)));
  typedef double unaligned __attribute__((vector_size(TLMD_VECTOR_BYTES), aligned(8), may_alias));
  typedef double quad __attribute__((vector_size(32), aligned(8), may_alias));
  typedef int64_t bits __attribute__((vector_size(TLMD_VECTOR_BYTES)));
  static constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double largest = 700.0;
  static constexpr int mantissa = 52, terms = 14;
};

template <class real> using vec = typename Types<real>::vec;
template <class real> constexpr int lanes = TLMD_VECTOR_BYTES / (int) sizeof(real);

template <class real> static inline vec<real> load(const real *p) {
  return *reinterpret_cast<const typename Types<real>::unaligned *>(p);
}
template <class real> static inline void store(real *p, vec<real> x) {
  *reinterpret_cast<typename Types<real>::unaligned *>(p) = x;
}
template <class real> static inline void add_to(real *p, vec<real> x) { store(p, load(p) + x); }
static inline float root(float x) { return __builtin_sqrtf(x); }
static inline double root(double x) { return __builtin_sqrt(x); }

// e^x: x = n ln 2 + r, |r| < 0.35; Taylor series of e^r, exponent by bits.
template <class real> static inline vec<real> exponential(vec<real> x) {
  using T = Types<real>;
  const real largest = T::largest;
  x = x > largest ? largest + vec<real>{} : x;
  x = x < -largest ? -largest + vec<real>{} : x;
  const vec<real> shifted = x * real(1.4426950408889634) + T::shifter;
  const vec<real> n = shifted - T::shifter;
  const vec<real> r = (x - n * real(0.693359375)) + n * real(2.12194440054690583e-4);  // ln 2 in two parts
  vec<real> p = vec<real>{} + real(1);
  for (int k = T::terms - 1; k > 0; k--) p = p * r * real(1.0 / k) + real(1);
  using bits = typename T::bits;
  return p * (vec<real>) (((bits) shifted << T::mantissa) + (bits) (vec<real>{} + real(1)));
}

template <class real> static inline vec<real> sigmoid(vec<real> x) {
  return real(1) / (real(1) + exponential<real>(-x));
}

// dE/d(argument of SiLU) from dE/d(its value)
template <class real> static inline vec<real> silu_slope(vec<real> x) {
  const vec<real> s = sigmoid<real>(x);
  return s * (real(1) + x * (real(1) - s));
}

// Sums over the lanes of four vectors, added to p[0..3].
template <class V, int... I>
static inline V pairwise(V a, V b, std::integer_sequence<int, I...>) {  // neighbouring lanes of a and b in turn
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I % 2 ? n + I - 1 : I)...) +
         __builtin_shufflevector(a, b, (I % 2 ? n + I : I + 1)...);
}
template <class V, int... I> static inline V by_two(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I % 4 < 2 ? I : n + I - 2)...) +
         __builtin_shufflevector(a, b, (I % 4 < 2 ? I + 2 : n + I)...);
}
template <int shift, class V, int... I> static inline V turned(V a, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, a, ((I + shift) % (int) sizeof...(I))...);
}
template <class real> static inline void add_sums(real *p, vec<real> a, vec<real> b, vec<real> c, vec<real> d) {
  constexpr int n = lanes<real>;
  if constexpr (n >= 4) {
    using quad = typename Types<real>::quad;
    const auto index = std::make_integer_sequence<int, n>();
    vec<real> t = by_two(pairwise(a, b, index), pairwise(c, d, index), index);
    if constexpr (n >= 16) t += turned<8>(t, index);
    if constexpr (n >= 8) t += turned<4>(t, index);
    quad sum;
    __builtin_memcpy(&sum, &t, sizeof(quad));
    *reinterpret_cast<quad *>(p) += sum;
  } else {
    for (int k = 0; k < n; k++) {
      p[0] += a[k];
      p[1] += b[k];
      p[2] += c[k];
      p[3] += d[k];
    }
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
