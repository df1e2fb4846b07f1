// The pairs of atoms that one rank sees.
#ifndef TLMD_ENGINE_PAIRS_H
#define TLMD_ENGINE_PAIRS_H

#include <vector>

namespace tlmd::engine {

// Rows: the atoms of a rank, then ghosts of other ranks. Pairs i<-j within the cutoff (of layer 1, if it reaches
// further than the others), by centre i; those before directed[i] have j < n_owned and stand for i<-j and j<-i, which
// is then not listed.
struct Pairs {
  int n_owned = 0, n_rows = 0;
  std::vector<int> species;          // (n_rows,)
  std::vector<int> first, directed;  // (n_owned + 1,), (n_owned,)
  std::vector<int> neighbour;        // (pairs,) row of j
  std::vector<double> vectors;       // (pairs, 3) r_j - r_i, A
  std::vector<int> slots;            // (pairs,) of whole_system, if wanted: the slot that each pair came from
};

// The pairs of a whole system from its matrix of neighbours (n, k) and vectors (n, k, 3) A, those within the cutoff.
Pairs whole_system(int n, int k, const int *species, const int *neighbours, const double *vectors, double cutoff,
                   bool keep_slots = false);

// Those of `all` that are shorter than `cutoff`, in their order, without species; index (pairs,): where each was.
void pick_within(double cutoff, const Pairs &all, Pairs &inner, std::vector<int> &index);

// The same with each direction of a pair by itself.
Pairs directed(const Pairs &);

// Whole systems as one, in order.
Pairs joined(const std::vector<const Pairs *> &);

// Forces (n_rows, 3) eV/A on the rows from the slopes dE/dr_ij (pairs, 3) eV/A.
std::vector<double> forces_of(const Pairs &, const std::vector<double> &slopes);

}  // namespace tlmd::engine
#endif
