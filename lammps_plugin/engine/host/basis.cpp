#include "engine/basis.h"

#include "quintic.h"

#include <algorithm>
#include <cmath>

namespace tlmd::engine {

static constexpr double PI = 3.14159265358979323846;

void Basis::evaluate(double d, double *value, double *slope, double *curve) const {
  const double x = d / cutoff, x4 = x * x * x * x, x5 = x4 * x;
  const double f = polynomial ? 1 + x5 * x * (-28 + x * (48 - 21 * x)) : 0.5 * (std::cos(PI * x) + 1);
  const double df = (polynomial ? x5 * (-168 + x * (336 - 168 * x)) : -0.5 * PI * std::sin(PI * x)) / cutoff;
  const double ddf =
      (polynomial ? x4 * (-840 + x * (2016 - 1176 * x)) : -0.5 * PI * PI * std::cos(PI * x)) / (cutoff * cutoff);
  for (int k = 0; k < n_radial(); k++) {
    double g, dg, ddg;
    if (!bessel) {
      const double z = (d - centres[k]) / width;
      g = std::exp(-0.5 * z * z);
      dg = -z / width * g;
      ddg = (z * z - 1) / (width * width) * g;
    } else {
      const double a = centres[k];
      if (a * d < 1e-3) {  // series of sin(a d) / d
        g = a - a * a * a * d * d / 6;
        dg = -a * a * a * d / 3;
        ddg = -a * a * a / 3;
      } else {
        g = std::sin(a * d) / d;
        dg = (a * std::cos(a * d) - g) / d;
        ddg = -a * a * g - 2 * dg / d;
      }
    }
    value[k] = g * f;
    slope[k] = dg * f + g * df;
    if (curve) curve[k] = ddg * f + 2 * dg * df + g * ddf;
  }
  value[n_radial()] = f;
  slope[n_radial()] = df;
  if (curve) curve[n_radial()] = ddf;
}

std::vector<double> Basis::fit(int n_bins) const {
  // As many sites as splines: the knots, and the middles of the first two and the last two bins.
  std::vector<double> sites{0.5, 1.5, n_bins - 1.5, n_bins - 0.5};
  for (int k = 0; k <= n_bins; k++) sites.push_back(k);
  std::sort(sites.begin(), sites.end());
  const int n = (int) sites.size(), m = size(), band = 10;
  std::vector<double> a((size_t) n * n), y((size_t) n * m), slope(m);
  for (int i = 0; i < n; i++) {
    const int bin = std::min((int) sites[i], n_bins - 1);
    double value[SPLINE_WEIGHTS];
    quintic(sites[i] - bin, value);
    for (int k = 0; k < SPLINE_WEIGHTS; k++) a[(size_t) i * n + bin + k] = value[k];
    evaluate(sites[i] * cutoff / n_bins, &y[(size_t) i * m], slope.data());
  }
  for (int k = 0; k < n; k++) {  // elimination within the band, with pivoting
    const int below = std::min(n, k + band), right = std::min(n, k + 2 * band);
    int pivot = k;
    for (int i = k + 1; i < below; i++)
      if (std::fabs(a[(size_t) i * n + k]) > std::fabs(a[(size_t) pivot * n + k])) pivot = i;
    std::swap_ranges(&a[(size_t) k * n], &a[(size_t) k * n] + n, &a[(size_t) pivot * n]);
    std::swap_ranges(&y[(size_t) k * m], &y[(size_t) k * m] + m, &y[(size_t) pivot * m]);
    for (int i = k + 1; i < below; i++) {
      const double factor = a[(size_t) i * n + k] / a[(size_t) k * n + k];
      if (factor == 0) continue;
      for (int c = k; c < right; c++) a[(size_t) i * n + c] -= factor * a[(size_t) k * n + c];
      for (int c = 0; c < m; c++) y[(size_t) i * m + c] -= factor * y[(size_t) k * m + c];
    }
  }
  for (int k = n - 1; k >= 0; k--)
    for (int c = 0; c < m; c++) {
      double sum = y[(size_t) k * m + c];
      for (int i = k + 1; i < std::min(n, k + 2 * band); i++) sum -= a[(size_t) k * n + i] * y[(size_t) i * m + c];
      y[(size_t) k * m + c] = sum / a[(size_t) k * n + k];
    }
  return y;
}

}  // namespace tlmd::engine
