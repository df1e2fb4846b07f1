// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_TLMD_ROWS_H
#define LMP_TLMD_ROWS_H

#include "backends/halo.h"
#include "engine/painn.h"

#include "pointers.h"

namespace LAMMPS_NS {

class NeighList;
class Pair;

/// The atoms of this rank as rows, and their pairs within the cutoff, from LAMMPS' full neighbour list. An image of an
// atom of the same rank is that atom's row, found without an atom map.
//
// Layer by layer (hops 0): pairs of the own atoms, and ghost rows that the halo fills. In one piece (hops > 0): all
// rows have pairs, out to `hops` pairs from the own atoms, and other ranks' atoms are followed through the nearest of
// their images; rows of other ranks are found anew by each gather(), and the halo has none.
class Rows : protected Pointers {
 public:
  explicit Rows(LAMMPS *lmp) : Pointers(lmp), halo(world) {}

  /// After a neighbour-list build; collective. `map`: species of each atom type, -1 for none. `pair` passes its
  // forward communication (two numbers an atom) to pack and unpack. The list has those of ghosts if rows have ghosts
  // nearer than `hops` pairs.
  void plan(Pair *pair, NeighList *list, const int *map, double cutoff, int hops);
  void pack(int n, const int *list, double *buf) const;
  void unpack(int n, int first, const double *buf);

  /// Positions -> pairs. Throws std::runtime_error if two atoms are at one place or a distance is not finite.
  void gather();

  tlmd::engine::Pairs pairs;
  tlmd::Halo halo;
  std::vector<int> atom_of;  // local index of each row
  double bytes() const;

 private:
  void number_rows();
  bool near(int i, int j) const;
  std::vector<char> named_ghosts() const;
  void name_species();
  void list_candidates();
  void gather_layer();
  void gather_whole();
  [[noreturn]] void refuse_pair(int i, int j) const;
  void refuse_positions() const;

  NeighList *list = nullptr;
  const int *map = nullptr;
  double cutoff = 0;
  int hops = 0, n_atoms = 0;       // n_atoms: different ones, own and ghosts
  std::vector<int> row;            // of each local and ghost atom, below n_atoms; -1 if it has no species
  std::vector<tlmd::Owner> owner;  // of each local and ghost atom
  struct Candidate {
    int atom, row;
  };
  std::vector<Candidate> candidates;       // pairs within the cutoff and the skin, by centre, shared ones first
  std::vector<int> first, first_directed;  // of each centre
};

}  // namespace LAMMPS_NS
#endif
