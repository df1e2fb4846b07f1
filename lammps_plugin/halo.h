// Exchange of rows (features of atoms) between ranks: owners to ghosts forward, adjoints of ghosts back to their
// owners. MPI only; knows neither LAMMPS nor torch.
#ifndef TLMD_HALO_H
#define TLMD_HALO_H

#include <mpi.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace tlmd {

// (rank, row on that rank) of an atom's owner
using Owner = std::pair<int, int>;

class Halo {
 public:
  explicit Halo(MPI_Comm world) : world(world) {}

  // Collective. `ghosts`: the owners of this rank's ghost rows, sorted, each once. Ghost row g of this rank is then
  // ghosts[g].
  void plan(const std::vector<Owner> &ghosts);

  // Collective, real = float or double. Rows have `width` numbers; `owned` are this rank's rows, `ghosts` its ghost
  // rows.
  template <class real> void forward(const real *owned, real *ghosts, int width);  // fills ghosts
  template <class real> void reverse(real *owned, const real *ghosts, int width);  // adds to owned, in order of rank

 private:
  struct Block {
    int rank, first, count;  // rows first .. first + count - 1 of the list that this block belongs to
  };

  // Sends the rows of `send` to their ranks and receives those of `receive`; both buffers lie in the order of their
  // blocks.
  template <class real>
  void exchange(const real *out, const std::vector<Block> &send, real *in, const std::vector<Block> &receive,
                int width);

  MPI_Comm world;
  std::vector<int> sent_rows;     // own rows that other ranks hold as ghosts
  std::vector<Block> to_ranks;    // blocks of sent_rows
  std::vector<Block> from_ranks;  // blocks of the ghost rows
  std::vector<MPI_Request> requests;
};

}  // namespace tlmd
#endif
