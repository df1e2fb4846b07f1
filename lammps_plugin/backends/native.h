// SPDX-License-Identifier: MIT
// The native engine as an evaluator: its layers one by one, with the exchange of ghosts between them. No torch.
#ifndef TLMD_NATIVE_H
#define TLMD_NATIVE_H

#include "evaluator.h"

namespace tlmd {

class Native : public Evaluator {
 public:
  virtual const std::string &isa() const = 0;
  virtual void want_flux(bool) = 0;                                // as PaiNN
  virtual void set_head_weights(const std::vector<double> &) = 0;  // as PaiNN
  virtual double memory() const = 0;                               // bytes that are held
  virtual double memory_per_atom(double pairs_per_atom, double rows_per_atom) const = 0;
};

std::unique_ptr<Native> native(const engine::Weights &, bool float64, int n_bins);

}  // namespace tlmd
#endif
