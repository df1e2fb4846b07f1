// Gradients of a loss on energies, forces and virials with respect to PaiNN's parameters and the pair vectors, without
// double backward.
//
// The loss enters by its slopes: seeds_i = dLoss/dE_i and changes_p = dLoss/d(dE/dr_p). Its gradient is that of
// sum_i seeds_i E_i, plus the derivative of dE/d(parameters) along changes of the pair vectors: after the evaluation,
// whose values stay, one forward and one reverse pass of tangents.
#ifndef TLMD_ENGINE_TRAINING_H
#define TLMD_ENGINE_TRAINING_H

#include "painn.h"

#include <functional>

namespace tlmd::engine {

template <class real> class Training {
 public:
  // Keeps a pointer to the weights, here and in set_weights. Features play no part.
  Training(const Weights &, const Options &);
  ~Training();
  void set_weights(const Weights &);  // of the same architecture

  // As PaiNN::evaluate; keeps a pointer to the pairs.
  void evaluate(const Pairs &, Result &);

  using Wanted = std::function<bool(const std::string &)>;
  using Put = std::function<void(const std::string &, std::vector<real>)>;
  // After evaluate: seeds (N,), changes (pairs, 3) eV/A per unit of loss. `put` gets each gradient that is `wanted`
  // under its parameter's name in Potential's state_dict, in its layout there; also of scale and reference, and, as
  // "vectors", (pairs, 3) with respect to the pair vectors at fixed seeds and changes. What is not wanted is not
  // computed, nor what is needed for it alone.
  void gradients(const double *seeds, const double *changes, const Wanted &wanted, const Put &put);

  // After evaluate: the scalar features after a layer, (n_owned, feature_stride()), and, after tangents, how they
  // change with the pair vectors, whose changes are (pairs, 3) A; up to layer n_layers.
  void tangents(const double *changes, int n_layers);
  const real *features(int layer) const;
  const real *feature_tangents(int layer) const;
  int feature_stride() const;
  size_t memory() const;  // bytes that are held

 private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

}  // namespace tlmd::engine
#endif
