// SPDX-License-Identifier: MIT
// What evaluates the pairs of one rank: the native engine (native.h) or the scripted model in libtorch (torchscript.h).
#ifndef TLMD_EVALUATOR_H
#define TLMD_EVALUATOR_H

#include "engine/painn.h"

namespace tlmd {

class Halo;

class Evaluator {
 public:
  virtual ~Evaluator() = default;
  // Collective over the ranks of `halo`: every rank takes part in every exchange, also with no atom.
  virtual void evaluate(const engine::Pairs &, Halo &halo, engine::Result &result, int n_threads) = 0;
  // Scalar features (n_owned, width) after a layer that a kernel head reads, of the last evaluation.
  virtual std::vector<double> features(int layer) const = 0;
};

// The largest deviation of `b` from `a` in forces and atom energies, relative to the largest slope of a pair and to the
// largest energy beyond the references (n_species,). Forces are those that this rank's pairs exert.
double deviation(const engine::Pairs &, const std::vector<double> &references, const engine::Result &a,
                 const engine::Result &b);

// The atoms among `pairs` whose row is below n_rows, cut out: no ghosts, no other pairs.
engine::Pairs cut_out(const engine::Pairs &pairs, int n_rows);

}  // namespace tlmd
#endif
