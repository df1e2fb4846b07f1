// The short-range repulsion of pairs that a potential adds to its network (python/tlmd/models/repulsion.py).
#ifndef TLMD_ENGINE_REPULSION_H
#define TLMD_ENGINE_REPULSION_H

#include "pairs.h"

#include <cstddef>
#include <vector>

namespace tlmd::engine {

struct Result;

// E = strength ((radius / r)^2 - 1)^3 of each pair that is nearer than the radius, half to each of its atoms.
struct Repulsion {
  double strength = 0;         // eV
  std::vector<double> radius;  // (S, S) A by species; empty: none

  // Adds energies and slopes.
  void add(const Pairs &, Result &) const;
  // Adds to the gradient (pairs, 3) with respect to the pair vectors of sum_i seeds_i E_i plus the derivative of the
  // energy along changes (pairs, 3) A of the vectors.
  template <class real>
  void add_gradients(const Pairs &, const double *seeds, const double *changes, std::vector<real> &gradient) const;

 private:
  template <class Visit> void each_near(const Pairs &, const Visit &) const;
};

}  // namespace tlmd::engine
#endif
