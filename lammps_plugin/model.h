// An exported model in libtorch: load, check its card, evaluate a domain layer by layer. No LAMMPS and no torch type
// shows here.
#ifndef TLMD_MODEL_H
#define TLMD_MODEL_H

#include <memory>
#include <string>
#include <vector>

namespace tlmd {

class Halo;

// What one rank sees: N owned atoms, M >= N rows of features (the rest are ghosts of other ranks), K slots for
// neighbours.
struct Domain {
  int n_owned = 0, n_rows = 0, n_slots = 0;
  std::vector<int> species;     // (M,) index into the model's elements
  std::vector<int> neighbours;  // (N, K) row of the neighbour, or the atom's own row in an unused slot
  std::vector<double> vectors;  // (N, K, 3) r_j - r_i, A; beyond the cutoff in an unused slot
};

struct Result {
  std::vector<double> energies;  // (N,) eV
  std::vector<double> slopes;    // (N, K, 3) dE/dr_ij, eV/A
};

class Model {
 public:
  // `file`: the whole file in memory; device cpu | cuda | auto; `rank` chooses among several GPUs. Throws
  // std::runtime_error with one line that says got / wanted / do.
  Model(const std::string &file, const std::string &name, const std::string &device, int rank);
  ~Model();

  std::vector<std::string> elements;
  double cutoff;        // A
  std::string summary;  // one line for the log

  // Evaluates the file's own test cluster and compares with the numbers that eager PyTorch gave at export.
  // Returns the largest force deviation relative to the largest force; throws if it is beyond the tolerance of the
  // precision.
  double self_test();

  // Collective over the ranks of `halo`: every rank takes part in every exchange, also with no atom.
  void evaluate(const Domain &domain, Halo &halo, Result &result, int n_threads);

  // Version of the libtorch in this process, not of the one that was compiled against.
  static std::string torch_version();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

}  // namespace tlmd
#endif
