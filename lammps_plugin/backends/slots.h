// SPDX-License-Identifier: MIT
// Pairs as the matrix that the scripted network takes. No torch.
#ifndef TLMD_SLOTS_H
#define TLMD_SLOTS_H

#include "engine/painn.h"

namespace tlmd {

// K slots for each of N centres (rows that have a list of pairs), unused ones beyond the cutoff. A shared pair has a
// slot at each of its atoms.
struct Slots {
  Slots(const engine::Pairs &pairs, double cutoff);

  int n_centres, n = 1;         // N, K
  std::vector<int> neighbours;  // (N, K)
  std::vector<double> vectors;  // (N, K, 3) A

  // Slopes of the slots (N, K, 3) -> of the pairs (pairs, 3).
  std::vector<double> of_pairs(const std::vector<double> &slopes) const;

 private:
  std::vector<int> here, there;  // (pairs,) slots of i<-j and, -1 if not shared, j<-i
};

}  // namespace tlmd
#endif
