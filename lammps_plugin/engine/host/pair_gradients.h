// The gradient of a loss with respect to the pair vectors: tangents of the slopes of the energy.
#ifndef TLMD_ENGINE_PAIR_GRADIENTS_H
#define TLMD_ENGINE_PAIR_GRADIENTS_H

#include "painn_impl.h"
#include "quintic.h"

#include <cmath>

namespace tlmd::engine {

template <class real> class PairGradients {
 public:
  // For the pairs of an evaluation and their changes (pairs, 4): of the distance and of the unit vector.
  void start(const Sphere<real> &sphere, int threads, const real *pair_changes) {
    n_threads = threads, changes = pair_changes;
    n_pairs = sphere.size();
    const int n_bins = sphere.n_bins, *bins = sphere.bins.data();
    slopes.reserve(4 * (size_t) n_pairs * n_threads);
    slope_weights.reserve(SPLINE_WEIGHTS * (size_t) n_pairs);
    const double scale = n_bins / sphere.basis.cutoff;
    in_shares(n_pairs, n_threads, [&](int first, int end, int thread) {
      std::fill_n(slopes_of(thread), 4 * (size_t) n_pairs, real(0));
      for (int p = first; p < end; p++) {
        const double *r = &sphere.pairs->vectors[3 * (size_t) p];
        double curves[SPLINE_WEIGHTS] = {0, 0, 1};  // without a table: the pair's own row of curvatures
        if (n_bins > 0) quintic_curves(std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]) * scale - bins[p], curves);
        const double factor = changes[4 * (size_t) p] * (n_bins > 0 ? scale * scale : 1);
        for (int k = 0; k < SPLINE_WEIGHTS; k++)
          slope_weights.data()[SPLINE_WEIGHTS * (size_t) p + k] = (real) (curves[k] * factor);
      }
    });
  }

  // (pairs, SPLINE_WEIGHTS) changes of the spline weights of the slope
  const real *slope_changes() const { return slope_weights.data(); }
  // (pairs, 4) tangents of dE/dd and dE/du of one thread, to be added to
  real *slopes_of(int thread) const { return slopes.data() + 4 * (size_t) n_pairs * thread; }

  // The gradient (pairs, 3), from the slopes of the evaluation too.
  std::vector<real> vectors(const Sphere<real> &sphere) const {
    std::vector<real> gradient(3 * (size_t) n_pairs);
    in_shares(n_pairs, n_threads, [&](int first, int end, int) {
      for (int p = first; p < end; p++) {
        const auto slope = sum_of_threads(sphere.slopes.data(), n_threads, n_pairs, p);
        const auto slope_t = sum_of_threads(slopes.data(), n_threads, n_pairs, p);
        const PairGeometry<real> &geometry = sphere.geometry.data()[p];
        const real *u = geometry.unit, *change = changes + 4 * (size_t) p, *u_t = change + 1;
        const double inverse = geometry.inverse;
        double along = 0, along_t = 0;
        for (int k = 0; k < 3; k++) {
          along += u[k] * slope[1 + k];
          along_t += u[k] * slope_t[1 + k] + u_t[k] * slope[1 + k];
        }
        for (int k = 0; k < 3; k++) {
          const double across = slope[1 + k] - along * u[k];
          const double across_t = slope_t[1 + k] - along_t * u[k] - along * u_t[k];
          gradient[3 * (size_t) p + k] =
              (real) (slope_t[0] * u[k] + slope[0] * u_t[k] + (across_t - across * change[0] * inverse) * inverse);
        }
      }
    });
    return gradient;
  }

  size_t bytes() const { return slopes.bytes() + slope_weights.bytes(); }

 private:
  const real *changes = nullptr;
  int n_pairs = 0, n_threads = 1;
  Buffer<real> slopes, slope_weights;
};

}  // namespace tlmd::engine
#endif
