// The native engine: PaiNN energies and forces of one rank's atoms, without torch and LAMMPS.
//
// A step: begin (layer 1), then for each further layer an exchange of the ghosts' rows of inputs() and forward(); then
// for each layer from the last to the second backward() and an exchange of the rows of adjoints() to their owners; then
// finish. Without ghosts evaluate() does all of it.
#ifndef TLMD_ENGINE_PAINN_H
#define TLMD_ENGINE_PAINN_H

#include "basis.h"
#include "../../kernels/kernels.h"

#include <sys/mman.h>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace tlmd::engine {

// A dense layer as PyTorch keeps it: weight (n_out, n_in), row-major; bias (n_out,) or empty.
struct Linear {
  int n_out = 0, n_in = 0;
  std::vector<double> weight, bias;
};

// The kernel head of models/mekrr.py (method `flat` there), after the readout; features of `layers` side by side.
struct Head {
  Function function = LINEAR;
  double parameter = 0;
  std::vector<int> layers;            // none: there is no head
  std::vector<double> shift, factor;  // (species, n_in)
  std::vector<double> points, bias;   // (n_out, n_in), (n_out,); linear: none
  std::vector<double> weights;        // (species, n_out); fourier: those of cosines, then of sines, (species, 2 n_out)
};
Function function_of(const std::string &name);

// What models/painn.py and models/potential.py call by the same names.
struct Weights {
  int n_species = 0, width = 0, n_layers = 0;
  double norm_epsilon = 0;  // |V| is sqrt(V^2 + epsilon^2)
  Basis basis;
  std::vector<double> embedding;  // (n_species, width)
  struct Layer {
    Linear filter, context0, context2, mix, update0, update2;
  };
  std::vector<Layer> layers;
  Linear energy0, energy2;  // zero if there is a head and no such weights
  Head head;
  std::vector<double> scale, reference;  // (n_species,) eV
};

// Weights whose parameters `get` gives by their names in Potential's state_dict, row-major, checked for their number.
Weights read_weights(int n_species, int width, int n_layers, double norm_epsilon, const Basis &, const Head &,
                     const std::function<std::vector<double>(const std::string &)> &get);

// What one rank sees. Rows: its atoms, then ghosts of other ranks. Pairs i<-j within the cutoff, by centre i; those
// before directed[i] have j < n_owned and stand for i<-j and j<-i, which is then not listed.
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

// Whole systems as one, in order.
Pairs joined(const std::vector<const Pairs *> &);

struct Result {
  std::vector<double> energies;  // (n_owned,) eV
  std::vector<double> slopes;    // (pairs, 3) dE/dr_ij, eV/A, of both directions together
};

// Forces (n_rows, 3) eV/A on the rows from the slopes (pairs, 3).
std::vector<double> forces_of(const Pairs &, const std::vector<double> &slopes);

struct Options {
  std::string isa = "auto";  // as choose_isa
  int n_threads = 1;
  int n_bins = 192;        // of the filter table; 0: no table, filters evaluated directly (slow, for checks)
  int moment_species = 4;  // up to so many species layer 1 goes by moments
  bool keep_features = false;
};

// Memory on cache lines; grows, never shrinks; new memory is zero.
template <class T> class Buffer {
 public:
  T *reserve(size_t n) {
    if (n <= size) return data();
    size = n + n / 32;
    constexpr size_t huge = 1 << 21;  // bytes of a large page, which spares address translations
    size_t bytes = (size * sizeof(T) + 127) / 64 * 64;
    const bool big = bytes >= 2 * huge;
    if (big) bytes = (bytes + huge - 1) / huge * huge;
    memory.reset(static_cast<T *>(std::aligned_alloc(big ? huge : 64, bytes)));
    if (!memory) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (big) madvise(memory.get(), bytes, MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void *>(memory.get()), 0, bytes);
    return data();
  }
  T *data() const { return memory.get(); }
  size_t bytes() const { return size * sizeof(T); }

 private:
  struct Free {
    void operator()(T *p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> memory;
  size_t size = 0;
};

template <class real> class PaiNN {
 public:
  PaiNN(const Weights &, const Options &);
  ~PaiNN();

  int n_layers() const;
  const std::string &isa() const;
  void set_threads(int n);
  void set_head_weights(const std::vector<double> &);  // as Head's, where the composition changes them

  void begin(const Pairs &);  // keeps a pointer to the pairs until finish
  void forward(int layer);    // message and update of layer 1 .. n_layers - 1
  void backward(int layer);   // of the same, in reverse
  void finish(Result &);
  void evaluate(const Pairs &, Result &);  // all of it; n_rows == n_owned

  // What layer >= 1 reads, and dE/d(it) after backward(layer): n_blocks() blocks, block_stride() numbers apart, of
  // n_rows rows of row_width() numbers. Rows of ghosts are filled before forward(layer); their adjoints go to the rows
  // of their owners after backward(layer).
  int n_blocks() const;
  int row_width() const;
  size_t block_stride() const;
  real *inputs(int layer);
  real *adjoints();

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
