// SPDX-License-Identifier: GPL-2.0-only
#include "checks.h"

#include "backends/elements.h"

#include "atom.h"
#include "comm.h"
#include "force.h"
#include "group.h"
#include "neigh_list.h"
#include "neighbor.h"

#include <cmath>

using namespace LAMMPS_NS;

std::string Checks::bonds() const {
  if (atom->molecular == Atom::ATOMIC) return "";
  for (int k = 1; k < 4; k++)
    if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
      return "got special_bonds that remove bonded pairs; wanted all pairs; use an atomic atom_style or "
             "`special_bonds lj/coul 1 1 1`";
  return "";
}

// Atoms of the model in a group, on all ranks.
bigint Checks::members(int group_index) const {
  const int bit = group->bitmask[group_index];
  bigint mine = 0, all;
  for (int i = 0; i < atom->nlocal; i++) mine += (atom->mask[i] & bit) && species[atom->type[i]] >= 0;
  MPI_Allreduce(&mine, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  return all;
}

// The command that removes pairs of the model's atoms, empty if there is none.
std::string Checks::excluded() const {
  const auto name = [&](int index) { return std::string(group->names[index]); };
  for (int k = 0; k < neighbor->nex_type; k++) {
    const int a = neighbor->ex1_type[k], b = neighbor->ex2_type[k];
    if (species[a] >= 0 && species[b] >= 0) return fmt::format("neigh_modify exclude type {} {}", a, b);
  }
  for (int k = 0; k < neighbor->nex_group; k++) {
    const int a = neighbor->ex1_group[k], b = neighbor->ex2_group[k];
    const bigint n = members(a), m = members(b);
    if (a == b ? n > 1 : n > 0 && m > 0) return "neigh_modify exclude group " + name(a) + " " + name(b);
  }
  for (int k = 0; k < neighbor->nex_mol; k++)
    if (members(neighbor->ex_mol_group[k]) > 1)
      return std::string("neigh_modify exclude molecule/") + (neighbor->ex_mol_intra[k] ? "intra " : "inter ") +
             name(neighbor->ex_mol_group[k]);
  if (neighbor->includegroup && members(neighbor->includegroup) < members(0))
    return "neigh_modify include " + name(neighbor->includegroup);
  return "";
}

std::string Checks::exclusions() const {
  const std::string command = excluded();
  if (command.empty()) return "";
  return "got " + command +
         ", which removes pairs of the model's atoms; wanted all of them: a many-body model with a " +
         "part of its pairs is another model; remove that line (fix setforce 0 0 0 holds atoms in place)";
}

std::string Checks::other_styles(const NeighList &list) const {
  if (list.listskip && list.molskip)
    return "got pair_style hybrid/molecular; wanted all pairs; use pair_style hybrid/overlay";
  if (!list.ijskip) return "";
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++)
      if (species[i] >= 0 && species[j] >= 0 && list.ijskip[i][j])
        return fmt::format(
            "got types {} {} of the model given to another style; wanted all pairs of the model's types; "
            "remove that pair_coeff, or use pair_style hybrid/overlay to add a style",
            i, j);
  return "";
}

static double standard_mass(const std::string &symbol) {
  for (const auto &element : tlmd::ELEMENTS)
    if (symbol == element.symbol) return element.mass;
  return NAN;
}

// How far a mass is from an element's, g/mol; hydrogen may be any of its isotopes.
static double distance(const std::string &symbol, double mass) {
  double least = std::fabs(mass - standard_mass(symbol));
  if (symbol == "H")
    for (double isotope : tlmd::HYDROGEN_ISOTOPES) least = std::fmin(least, std::fabs(mass - isotope));
  return least;
}

// The element that a mass belongs to rather than to `name`: another one of the model that is nearer, or any that it
// fits while it is far from its own. Empty: none.
std::string Checks::misnamed(const std::vector<std::string> &known, const std::string &name, double mass) const {
  constexpr double FAR = 0.5, FITS = 0.02;  // g/mol
  const double own = distance(name, mass);
  std::string better;
  double least = own;
  for (const auto &element : known)
    if (const double off = distance(element, mass); off < least) {
      least = off;
      better = element;
    }
  if (!better.empty() || !(own > FAR)) return better;
  for (const auto &element : tlmd::ELEMENTS)
    if (distance(element.symbol, mass) < FITS) return element.symbol;
  return "";
}

std::string Checks::of_any_rank(const std::string &text) const {
  int rank = text.empty() ? comm->nprocs : comm->me, first;
  MPI_Allreduce(&rank, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == comm->nprocs) return "";
  int size = (int) text.size();
  MPI_Bcast(&size, 1, MPI_INT, first, world);
  std::string found = text;
  found.resize(size);
  MPI_Bcast(found.data(), size, MPI_CHAR, first, world);
  return found;
}

std::string Checks::masses(const std::vector<std::string> &known, const std::vector<std::string> &names) const {
  const auto refusal = [&](int type, double mass, const std::string &of) {
    const std::string better = misnamed(known, names[type], mass);
    if (better.empty()) return std::string();
    return fmt::format(
        "got mass {:.6g} for {}, named {}; wanted about {:.6g}: {:.6g} fits {}; name the elements in the "
        "order of the atom types, or say `masses no`",
        mass, of, names[type], standard_mass(names[type]), mass, better);
  };
  std::string found;
  if (atom->rmass) {
    for (int i = 0; i < atom->nlocal && found.empty(); i++)
      if (species[atom->type[i]] >= 0)
        found = refusal(atom->type[i], atom->rmass[i], fmt::format("atom {}", atom->tag[i]));
  } else if (atom->mass) {
    for (int type = 1; type <= atom->ntypes && found.empty(); type++)
      if (species[type] >= 0 && atom->mass_setflag[type])
        found = refusal(type, atom->mass[type], fmt::format("type {}", type));
  }
  return of_any_rank(found);
}
