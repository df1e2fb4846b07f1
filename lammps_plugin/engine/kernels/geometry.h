// Distances, unit vectors and spline weights of pairs; distances in double.
#ifndef TLMD_ENGINE_GEOMETRY_H
#define TLMD_ENGINE_GEOMETRY_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

// vectors (n, 3) A -> bin (n,) and geometry (n,) for a table of `n_bins` bins up to `cutoff`
template <class real>
static void pair_geometry(const double *vectors, int n, int n_bins, double cutoff, int *bin, PairGeometry<real> *out) {
  constexpr int chunk = 32;
  const double bins_per_A = n_bins / cutoff;
  const real slope_unit = real(bins_per_A);
  for (int start = 0; start < n; start += chunk) {
    const int count = n - start < chunk ? n - start : chunk;
    real unit[3][chunk], inverse[chunk], t[chunk], value[SPLINE_WEIGHTS][chunk], slope[SPLINE_WEIGHTS][chunk];
    int bins[chunk];
    double r[3][chunk];
    for (int k = 0; k < chunk; k++)
      for (int d = 0; d < 3; d++) r[d][k] = vectors[3 * (start + (k < count ? k : 0)) + d];
    for (int k = 0; k < chunk; k++) {
      const double length = root(r[0][k] * r[0][k] + r[1][k] * r[1][k] + r[2][k] * r[2][k]),
                   inverse_length = 1 / length;
      for (int d = 0; d < 3; d++) unit[d][k] = real(r[d][k] * inverse_length);
      inverse[k] = real(inverse_length);
      const double x = length * bins_per_A;
      int b = (int) x;
      b = b < n_bins ? b : n_bins - 1;
      bins[k] = b;
      t[k] = real(x - b);
    }
    for (int k = 0; k < chunk; k++) {
      const real x = t[k], y = 1 - x, x2 = x * x, x3 = x2 * x, x4 = x2 * x2, y4 = y * y * y * y;
      const real a = real(1) / 120, b = slope_unit / 24;
      value[0][k] = a * y4 * y;
      value[1][k] = a * (26 + x * (-50 + x * (20 + x * (20 + x * (-20 + 5 * x)))));
      value[2][k] = a * (66 + x2 * (-60 + x2 * (30 - 10 * x)));
      value[3][k] = a * (26 + x * (50 + x * (20 + x * (-20 + x * (-20 + 10 * x)))));
      value[4][k] = a * (1 + x * (5 + x * (10 + x * (10 + x * (5 - 5 * x)))));
      value[5][k] = a * x4 * x;
      slope[0][k] = -b * y4;
      slope[1][k] = b * (-10 + x * (8 + x * (12 + x * (-16 + 5 * x))));
      slope[2][k] = b * x * (-24 + x2 * (24 - 10 * x));
      slope[3][k] = b * (10 + x * (8 + x * (-12 + x * (-16 + 10 * x))));
      slope[4][k] = b * (1 + x * (4 + x * 6) + 4 * x3 - 5 * x4);
      slope[5][k] = b * x4;
    }
    for (int k = 0; k < count; k++) {
      PairGeometry<real> &g = out[start + k];
      bin[start + k] = bins[k];
      for (int m = 0; m < SPLINE_WEIGHTS; m++) g.value[m] = value[m][k], g.slope[m] = slope[m][k];
      for (int d = 0; d < 3; d++) g.unit[d] = unit[d][k];
      g.inverse = inverse[k];
    }
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
