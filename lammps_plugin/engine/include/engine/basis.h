// Radial functions times the cutoff, and the cutoff alone; their quintic splines.
#ifndef TLMD_ENGINE_BASIS_H
#define TLMD_ENGINE_BASIS_H

#include <vector>

namespace tlmd::engine {

struct Basis {
  double cutoff = 5.0;          // A
  std::vector<double> centres;  // as the model has them, rounded or not: k pi / r_c in 1/A, or of Gaussians in A
  double width = 0.25;          // A, of Gaussians
  bool bessel = true;           // sin(centre d) / d; else Gaussians
  bool polynomial = true;       // envelope 1 - 28 x^6 + 48 x^7 - 21 x^8; else 0.5 (1 + cos(pi x))

  int n_radial() const { return (int) centres.size(); }
  int size() const { return n_radial() + 1; }
  // The functions at d < cutoff, their slopes in 1/A and, if wanted, their curvatures in 1/A^2: size() numbers each.
  void evaluate(double d, double *value, double *slope, double *curve = nullptr) const;
  // Coefficients (n_bins + 5, size()) of the quintic B-splines (C4) that interpolate the functions on [0, cutoff].
  std::vector<double> fit(int n_bins) const;
};

}  // namespace tlmd::engine
#endif
