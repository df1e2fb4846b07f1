// B-splines of degree 5, C4, on knots at the integers.
#ifndef TLMD_ENGINE_QUINTIC_H
#define TLMD_ENGINE_QUINTIC_H

#include "kernels/arrays.h"

namespace tlmd::engine {

// The SPLINE_WEIGHTS of them that are not zero in a bin, at 0 <= t <= 1 of it, and their second derivatives with
// respect to t. kernels/geometry.h has values and slopes for many pairs at once.
void quintic(double t, double *value);
void quintic_curves(double t, double *curve);

}  // namespace tlmd::engine
#endif
