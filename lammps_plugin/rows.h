/* -*- c++ -*- ----------------------------------------------------------
   tlmd: transfer-learned potentials for LAMMPS. GPL-2.0-only, see lammps_plugin/LICENSE.
------------------------------------------------------------------------- */
#ifndef LMP_TLMD_ROWS_H
#define LMP_TLMD_ROWS_H

#include "engine/painn.h"
#include "halo.h"

#include "pointers.h"

namespace LAMMPS_NS {

class NeighList;
class Pair;

// The atoms of this rank as rows, and their pairs within the cutoff, from LAMMPS' full neighbour list. An image of an
// atom of the same rank is that atom's row, found without an atom map.
class Rows : protected Pointers {
 public:
  explicit Rows(LAMMPS *lmp) : Pointers(lmp), halo(world) {}

  // After a neighbour-list build; collective. `map`: species of each atom type, -1 for none. `pair` passes its
  // forward communication (two numbers an atom) to pack and unpack.
  void plan(Pair *pair, NeighList *list, const int *map, double cutoff);
  void pack(int n, const int *list, double *buf) const;
  void unpack(int n, int first, const double *buf);

  void gather();  // positions -> pairs

  tlmd::engine::Pairs pairs;
  tlmd::Halo halo;
  std::vector<int> atom_of;  // local index of each row
  double bytes() const;

 private:
  void number_rows(const int *map);
  void list_candidates(NeighList *list);

  double cutoff = 0;
  std::vector<int> row;            // of each local and ghost atom, -1 if it has no species
  std::vector<tlmd::Owner> owner;  // of each local and ghost atom
  struct Candidate {
    int atom, row;
  };
  std::vector<Candidate> candidates;       // pairs within the list's reach, by centre, shared ones first
  std::vector<int> first, first_directed;  // of each centre
};

}  // namespace LAMMPS_NS
#endif
