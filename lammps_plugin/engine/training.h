// Gradients of a loss on energies, forces and virials with respect to PaiNN's parameters, without double backward.
//
// The loss enters by its slopes: seeds_i = dLoss/dE_i and changes_p = dLoss/d(dE/dr_p). Its gradient is that of
// sum_i seeds_i E_i, plus the derivative of dE/d(parameters) along changes of the pair vectors: one forward and one
// reverse pass of values with their tangents.
#ifndef TLMD_ENGINE_TRAINING_H
#define TLMD_ENGINE_TRAINING_H

#include "painn.h"

namespace tlmd::engine {

template <class real> class Training {
 public:
  Training(const Weights &, const Options &);  // moments and features play no part
  ~Training();
  void set_weights(const Weights &);  // of the same architecture

  // Seeds (N,), changes (pairs, 3) eV/A per unit of loss. `put` gets each gradient under its parameter's name in
  // Potential's state_dict, in its layout there; also of scale and reference.
  void gradients(const Pairs &, const double *seeds, const double *changes,
                 const std::function<void(const std::string &, const std::vector<double> &)> &put);
  size_t memory() const;  // bytes that are held

 private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

}  // namespace tlmd::engine
#endif
