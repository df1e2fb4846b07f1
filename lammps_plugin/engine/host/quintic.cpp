#include "quintic.h"

namespace tlmd::engine {

void quintic(double t, double *v) {
  const double r = 1 - t, t2 = t * t, t3 = t2 * t, t4 = t2 * t2;
  v[0] = r * r * r * r * r / 120;
  v[1] = (26 - 50 * t + 20 * t2 + 20 * t3 - 20 * t4 + 5 * t4 * t) / 120;
  v[2] = (66 - 60 * t2 + 30 * t4 - 10 * t4 * t) / 120;
  v[3] = (26 + 50 * t + 20 * t2 - 20 * t3 - 20 * t4 + 10 * t4 * t) / 120;
  v[4] = (1 + 5 * t + 10 * t2 + 10 * t3 + 5 * t4 - 5 * t4 * t) / 120;
  v[5] = t4 * t / 120;
}

void quintic_curves(double t, double *c) {
  const double r = 1 - t, t2 = t * t, t3 = t2 * t;
  c[0] = r * r * r / 6;
  c[1] = (2 + 6 * t - 12 * t2 + 5 * t3) / 6;
  c[2] = (-6 + 18 * t2 - 10 * t3) / 6;
  c[3] = (2 - 6 * t - 12 * t2 + 10 * t3) / 6;
  c[4] = (1 + 3 * t + 3 * t2 - 5 * t3) / 6;
  c[5] = t3 / 6;
}

}  // namespace tlmd::engine
