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

  // Collective, real = float or double. A row has `width` numbers in each of `n_blocks` blocks that lie `stride`
  // numbers apart; in each block `n_owned` own rows come first, the ghost rows behind them.
  template <class real> struct Rows {
    real *first;
    int n_owned, width, n_blocks;
    size_t stride;
  };
  template <class real> void forward(const Rows<real> &rows);  // fills the ghost rows
  template <class real> void reverse(const Rows<real> &rows);  // adds ghost rows to their owners', in order of rank

 private:
  struct Block {
    int rank, first, count;  // rows first .. first + count - 1 of the list that this block belongs to
  };

  // Sends the rows of `out` to the ranks of `send` and receives `in`; both lie in the order of their blocks.
  template <class real>
  void exchange(const real *out, const std::vector<Block> &send, real *in, const std::vector<Block> &receive,
                int width);

  MPI_Comm world;
  std::vector<int> sent_rows;     // own rows that other ranks hold as ghosts
  std::vector<Block> to_ranks;    // blocks of sent_rows
  std::vector<Block> from_ranks;  // blocks of the ghost rows
  std::vector<MPI_Request> requests;
  int n_ghosts = 0;
  std::vector<double> own_buffer, ghost_buffer;  // kept, so that a step asks for no memory
};

}  // namespace tlmd
#endif
