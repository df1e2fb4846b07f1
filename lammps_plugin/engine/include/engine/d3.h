// Grimme's dispersion of two atoms, D3 (J. Chem. Phys. 132, 154104, 2010), with zero damping or Becke and Johnson's
// (J. Comput. Chem. 32, 1456, 2011). Lengths in A, energies in eV.
#ifndef TLMD_ENGINE_D3_H
#define TLMD_ENGINE_D3_H

#include <memory>
#include <string>
#include <vector>

namespace tlmd::engine {

constexpr int D3_REFERENCES = 7;  // of an element, at most

/// Of S species with up to R references each.
struct D3Parameters {
  int n_species = 0, n_references = 0;       // S, R
  bool becke_johnson = false;                // else zero damping
  double s6 = 1, s8 = 0;                     // factors of r^-6 and r^-8
  double first = 0, second = 0;              // a1 and a2 in A; zero damping: rs6 and rs8
  double cutoff = 0, cn_cutoff = 0;          // A, of pairs, and of those that count for coordination numbers
  double counting = 16, weighting = 4;       // of the counting function, and of the weights of references
  std::vector<double> covalent, r4r2;        // (S,) A: radii with their factor 4/3; roots of C8 / (3 C6)
  std::vector<double> radii;                 // (S, S) A, of zero damping, else empty
  std::vector<std::vector<double>> numbers;  // (S,) (1 to R,) coordination numbers of the references
  std::vector<double> c6;                    // (S, S, R, R) eV A^6
};

/// The pairs of a rank, each once: those of a centre by the species of the partner, near ones first. Near: they can
/// come within cn_cutoff while the list is used.
struct D3List {
  std::vector<int> centres;    // (n,) atoms
  std::vector<size_t> starts;  // (n * 2 S + 1,) of near and far partners of each species
  std::vector<int> partners;   // atoms
};

/// What the passes add to; null: not wanted.
struct D3Result {
  double energy = 0, virial[6] = {};  // eV; sums of r_a F_b: xx, yy, zz, xy, xz, yz
  double *forces = nullptr;           // (atoms, 3)
  double *energies = nullptr;         // (atoms,)
  double *virials = nullptr;          // (atoms, 6)
};

/// C6 of a pair is bilinear in weights of the references of its atoms, which depend on coordination numbers. An atom's
/// row holds the weights of its references but the first, then their slopes by its coordination number.
class D3 {
 public:
  D3(const D3Parameters &, const std::string &isa);
  ~D3();

  int row_size() const;
  /// One row from a coordination number.
  void weigh(int species, double number, double *row) const;
  /// numbers (atoms,) += coordination numbers of positions (atoms, 3), the parts of this list's pairs.
  void count(const D3List &, const int *species, const double *positions, double *numbers) const;
  /// The energy at the weights in rows (atoms, row_size); slopes (atoms,) += dE/d(coordination number), unless null.
  void disperse(const D3List &, const int *species, const double *positions, const double *rows, double *slopes,
                D3Result &) const;
  /// sum of slopes * coordination numbers and its forces: the energy's change at linear order. Not in energies of
  /// atoms.
  void follow(const D3List &, const int *species, const double *positions, const double *slopes, D3Result &) const;

  /// Beyond the cutoff, of atoms spread evenly. From totals (S, R) = sums of weights over all atoms (add_weights):
  /// tails (S, R) eV of an atom's energy by its weights, and of its virial's xx, yy and zz.
  void add_weights(int species, const double *row, double *totals) const;
  void tail(const double *totals, double volume, std::vector<double> &energy, std::vector<double> &virial) const;
  double of_weights(int species, const double *row, const std::vector<double> &values) const;
  double slope_of_weights(int species, const double *row, const std::vector<double> &values) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

}  // namespace tlmd::engine
#endif
