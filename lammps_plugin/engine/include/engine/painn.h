// The native engine: PaiNN energies and forces of one rank's atoms, without torch and LAMMPS. README.md has the
// algebra.
//
// A step: begin (layer 1), then for each further layer an exchange of the ghosts' rows of inputs() and forward(); then
// for each layer from the last to the second backward() and an exchange of the rows of adjoints() to their owners; then
// finish. Without ghosts evaluate() does all of it.
#ifndef TLMD_ENGINE_PAINN_H
#define TLMD_ENGINE_PAINN_H

#include "isa.h"
#include "pairs.h"
#include "weights.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace tlmd::engine {

struct Result {
  std::vector<double> energies;  // (n_owned,) eV
  std::vector<double> slopes;    // (pairs, 3) dE/dr_ij, eV/A, of both directions together
  std::vector<double> flux;      // (pairs, 3, 3) sum_k (r_k - r_i)_a dE_k/d(r_ij)_b, eV, if wanted
};

struct Options {
  std::string isa = "auto";  // as choose_isa
  int n_threads = 1;
  int n_bins = 192;        // of the filter table; 0: no table, filters evaluated directly (slow, for checks)
  int moment_species = 4;  // up to so many species layer 1 goes by moments
  bool keep_features = false;
};

template <class real> class PaiNN {
 public:
  PaiNN(const Weights &, const Options &);
  ~PaiNN();

  int n_layers() const;
  const std::string &isa() const;
  void set_threads(int n);
  // Whether backward and finish also give Result::flux, whose pairs must be directed; see the README.
  void want_flux(bool);
  void set_head_weights(const std::vector<double> &);  // as Head's, where the composition changes them

  void begin(const Pairs &);  // keeps a pointer to the pairs until finish
  void forward(int layer);    // message and update of layer 1 .. n_layers - 1
  void backward(int layer);   // of the same, in reverse
  void finish(Result &);
  void evaluate(const Pairs &, Result &);  // all of it; n_rows == n_owned

  // What layer >= 1 reads, and dE/d(it) after backward(layer): n_blocks() blocks, block_stride() numbers apart, of
  // n_rows rows of row_width() numbers. Rows of ghosts are filled before forward(layer); their adjoints go to the rows
  // of their owners after backward(layer), those of each of the n_passes(): of the energy, of components of the flux.
  int n_blocks() const;
  int row_width() const;
  size_t block_stride() const;
  real *inputs(int layer);
  int n_passes() const;
  real *adjoints(int pass = 0);

  const real *features(int layer) const;  // (n_owned, padded width) scalars after a layer, with keep_features
  int feature_stride() const;
  size_t memory() const;  // bytes that are held
  // bytes an atom at `pairs_per_atom` undirected pairs and `rows_per_atom` rows
  static double memory_per_atom(const Weights &, double pairs_per_atom, double rows_per_atom);

 private:
  template <class> friend class Training;
  struct Impl;
  std::unique_ptr<Impl> impl;
};

// A number of bins, as small as need be, whose table moves no force component of `sample` by more than `tolerance`
// times the rms force, both in float64; `error` is that deviation.
struct TableChoice {
  int n_bins;
  double error;
};
TableChoice choose_bins(const Weights &, const Pairs &sample, double tolerance);
constexpr double table_tolerance(bool float64) { return float64 ? 1e-9 : 1e-6; }

}  // namespace tlmd::engine
#endif
