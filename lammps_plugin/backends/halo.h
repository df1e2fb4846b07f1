// SPDX-License-Identifier: MIT
// Exchange of rows (features of atoms) between ranks: owners to ghosts forward, adjoints of ghosts back to their
// owners. MPI only; knows neither LAMMPS nor torch. Ranks of one node read each other's rows from shared memory (not
// with TLMD_SHARED_MEMORY=no), others get messages.
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
  explicit Halo(MPI_Comm world);
  ~Halo();
  Halo(const Halo &) = delete;
  Halo &operator=(const Halo &) = delete;

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
    int there;               // where that rank's own list has them
  };

  template <class real>
  void exchange(const real *out, const std::vector<Block> &send, real *in, const std::vector<Block> &receive,
                size_t numbers);
  template <class real> const real *from(const Block &block, const real *received, size_t numbers) const;
  void *own_half(size_t numbers_of_a_row, size_t size_of_a_number);
  void free_window();
  bool near(int rank) const { return node_rank[rank] != MPI_UNDEFINED && shared; }

  MPI_Comm world, node;
  std::vector<int> node_rank;     // of each rank of the world, MPI_UNDEFINED on other nodes
  std::vector<int> sent_rows;     // own rows that other ranks hold as ghosts
  std::vector<Block> to_ranks;    // blocks of sent_rows
  std::vector<Block> from_ranks;  // blocks of the ghost rows
  std::vector<MPI_Request> requests;
  int n_ghosts = 0, most_rows = 0;  // most_rows: sent or ghost, of any rank of the node

  // Each rank's window has two halves, used in turn: nobody writes to one while another may still read it.
  MPI_Win window = MPI_WIN_NULL;
  size_t half_bytes = 0;
  bool shared = false, second = false;
  std::vector<char *> halves;         // of each rank of the node
  std::vector<double> own, received;  // instead of the window; and rows from other nodes
};

}  // namespace tlmd
#endif
