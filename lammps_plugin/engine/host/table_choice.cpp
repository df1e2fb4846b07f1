// The number of bins of the filter table, chosen by the force error on a sample.
#include "engine/painn.h"

#include <algorithm>
#include <cmath>

namespace tlmd::engine {

static constexpr int FEWEST_BINS = 96, USUAL_BINS = 256, MOST_BINS = 2048;

TableChoice choose_bins(const Weights &w, const Pairs &sample, double tolerance) {
  auto forces = [&](int n_bins) {
    Options options;
    options.n_bins = n_bins;
    Result result;
    PaiNN<double>(w, options).evaluate(sample, result);
    return forces_of(sample, result.slopes);
  };
  const auto truth = forces(0);
  double square = 0;
  for (double f : truth) square += f * f;
  const double rms = std::sqrt(square / std::max<size_t>(truth.size(), 1));
  if (rms == 0) return {USUAL_BINS, 0.0};  // a sample that says nothing
  for (int n_bins = FEWEST_BINS;;) {
    const auto f = forces(n_bins);
    double worst = 0;
    for (size_t k = 0; k < f.size(); k++) worst = std::max(worst, std::fabs(f[k] - truth[k]));
    const double error = worst / rms;
    if (error <= tolerance || n_bins >= MOST_BINS) return {n_bins, error};
    // the error of a quintic spline goes with the sixth power of a bin's width
    const double wanted = n_bins * std::pow(error / tolerance, 1.0 / 6);
    n_bins = std::min(MOST_BINS, std::max(n_bins + 16, (int) std::ceil(wanted / 16) * 16));
  }
}

}  // namespace tlmd::engine
