// SPDX-License-Identifier: MIT
#include "halo.h"

#include <sys/statvfs.h>
#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string>

namespace tlmd {

static MPI_Datatype mpi_type(const float *) { return MPI_FLOAT; }
static MPI_Datatype mpi_type(const double *) { return MPI_DOUBLE; }

Halo::Halo(MPI_Comm world) : world(world) {
  int n_ranks;
  MPI_Comm_size(world, &n_ranks);
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Group all, here;
  MPI_Comm_group(world, &all);
  MPI_Comm_group(node, &here);
  std::vector<int> ranks(n_ranks);
  std::iota(ranks.begin(), ranks.end(), 0);
  node_rank.resize(n_ranks);
  MPI_Group_translate_ranks(all, n_ranks, ranks.data(), here, node_rank.data());
  MPI_Group_free(&all);
  MPI_Group_free(&here);
}

Halo::~Halo() {
  int finished;
  MPI_Finalized(&finished);
  if (finished) return;
  free_window();
  MPI_Comm_free(&node);
}

void Halo::free_window() {
  if (window == MPI_WIN_NULL) return;
  MPI_Win_unlock_all(window);
  MPI_Win_free(&window);
}

void Halo::plan(const std::vector<Owner> &ghosts) {
  const int n_ranks = (int) node_rank.size();
  std::vector<int> wanted(n_ranks, 0), asked(n_ranks, 0), wanted_rows;
  for (const auto &[rank, row] : ghosts) {
    wanted[rank]++;
    wanted_rows.push_back(row);
  }
  n_ghosts = (int) ghosts.size();
  MPI_Alltoall(wanted.data(), 1, MPI_INT, asked.data(), 1, MPI_INT, world);

  std::vector<int> wanted_first(n_ranks, 0), asked_first(n_ranks, 0), wanted_there(n_ranks), asked_there(n_ranks);
  for (int r = 1; r < n_ranks; r++) {
    wanted_first[r] = wanted_first[r - 1] + wanted[r - 1];
    asked_first[r] = asked_first[r - 1] + asked[r - 1];
  }
  sent_rows.resize(asked_first.back() + asked.back());
  MPI_Alltoallv(wanted_rows.data(), wanted.data(), wanted_first.data(), MPI_INT, sent_rows.data(), asked.data(),
                asked_first.data(), MPI_INT, world);
  MPI_Alltoall(asked_first.data(), 1, MPI_INT, wanted_there.data(), 1, MPI_INT, world);
  MPI_Alltoall(wanted_first.data(), 1, MPI_INT, asked_there.data(), 1, MPI_INT, world);
  const int most = (int) std::max(sent_rows.size(), ghosts.size());
  MPI_Allreduce(&most, &most_rows, 1, MPI_INT, MPI_MAX, node);

  to_ranks.clear();
  from_ranks.clear();
  for (int r = 0; r < n_ranks; r++) {
    if (asked[r]) to_ranks.push_back({r, asked_first[r], asked[r], asked_there[r]});
    if (wanted[r]) from_ranks.push_back({r, wanted_first[r], wanted[r], wanted_there[r]});
  }
}

// Room for this rank's outgoing rows, where its neighbours on the node can read them if there is memory for it: all
// ranks of the node come to the same answer.
void *Halo::own_half(size_t numbers_of_a_row, size_t size_of_a_number) {
  const size_t bytes = most_rows * numbers_of_a_row * size_of_a_number;
  int n_here, me;
  MPI_Comm_size(node, &n_here);
  MPI_Comm_rank(node, &me);
  if (n_here > 1 && bytes > half_bytes) {
    free_window();
    half_bytes = bytes + bytes / 4 / 64 * 64 + 64;
    struct statvfs space;
    const double wanted = 2.0 * half_bytes * n_here;
    const char *setting = std::getenv("TLMD_SHARED_MEMORY");
    int enough = !(setting && std::string(setting) == "no") && statvfs("/dev/shm", &space) == 0 &&
                 (double) space.f_bavail * space.f_frsize > 2 * wanted,
        all;
    MPI_Allreduce(&enough, &all, 1, MPI_INT, MPI_MIN, node);
    shared = all;
    if (shared) {
      char *mine;
      MPI_Win_allocate_shared((MPI_Aint) (2 * half_bytes), 1, MPI_INFO_NULL, node, &mine, &window);
      MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
      halves.resize(n_here);
      for (int r = 0; r < n_here; r++) {
        MPI_Aint size;
        int unit;
        MPI_Win_shared_query(window, r, &size, &unit, &halves[r]);
      }
    }
  }
  second = !second;
  if (shared) return halves[me] + (second ? half_bytes : 0);
  own.resize(std::max(own.size(), bytes / sizeof(double) + 1));
  return own.data();
}

// Rows of `out` to the ranks of `send`, rows for this rank from those of `receive`, `numbers` in each row: messages
// between nodes; within the node what has been written can be read after this.
template <class real>
void Halo::exchange(const real *out, const std::vector<Block> &send, real *in, const std::vector<Block> &receive,
                    size_t numbers) {
  requests.clear();
  const int width = (int) numbers;
  for (const Block &b : receive)
    if (!near(b.rank))
      MPI_Irecv(in + b.first * numbers, b.count * width, mpi_type(in), b.rank, 0, world, &requests.emplace_back());
  for (const Block &b : send)
    if (!near(b.rank))
      MPI_Isend(out + b.first * numbers, b.count * width, mpi_type(out), b.rank, 0, world, &requests.emplace_back());
  if (shared) {
    MPI_Win_sync(window);
    MPI_Barrier(node);
    MPI_Win_sync(window);
  }
  MPI_Waitall((int) requests.size(), requests.data(), MPI_STATUSES_IGNORE);
}

// The rows of a block, wherever they have arrived.
template <class real> const real *Halo::from(const Block &b, const real *received, size_t numbers) const {
  if (!near(b.rank)) return received + b.first * numbers;
  const char *half = halves[node_rank[b.rank]] + (second ? half_bytes : 0);
  return reinterpret_cast<const real *>(half) + b.there * numbers;
}

template <class real> void Halo::forward(const Rows<real> &rows) {
  const size_t width = rows.width, numbers = width * rows.n_blocks;
  real *out = static_cast<real *>(own_half(numbers, sizeof(real))), *p = out;
  received.resize(std::max(received.size(), n_ghosts * numbers * sizeof(real) / sizeof(double) + 1));
  real *in = reinterpret_cast<real *>(received.data());
  for (int row : sent_rows)
    for (int b = 0; b < rows.n_blocks; b++, p += width)
      std::copy_n(rows.first + b * rows.stride + row * width, width, p);
  exchange(out, to_ranks, in, from_ranks, numbers);
  for (const Block &block : from_ranks) {
    const real *arrived = from(block, in, numbers);
    for (int g = block.first; g < block.first + block.count; g++)
      for (int b = 0; b < rows.n_blocks; b++, arrived += width)
        std::copy_n(arrived, width, rows.first + b * rows.stride + (rows.n_owned + g) * width);
  }
}

template <class real> void Halo::reverse(const Rows<real> &rows) {
  const size_t width = rows.width, numbers = width * rows.n_blocks;
  real *out = static_cast<real *>(own_half(numbers, sizeof(real))), *p = out;
  received.resize(std::max(received.size(), sent_rows.size() * numbers * sizeof(real) / sizeof(double) + 1));
  real *in = reinterpret_cast<real *>(received.data());
  for (int g = 0; g < n_ghosts; g++)
    for (int b = 0; b < rows.n_blocks; b++, p += width)
      std::copy_n(rows.first + b * rows.stride + (rows.n_owned + g) * width, width, p);
  exchange(out, from_ranks, in, to_ranks, numbers);
  for (const Block &block : to_ranks) {
    const real *arrived = from(block, in, numbers);
    for (int k = block.first; k < block.first + block.count; k++)
      for (int b = 0; b < rows.n_blocks; b++, arrived += width) {
        real *mine = rows.first + b * rows.stride + sent_rows[k] * width;
        for (size_t c = 0; c < width; c++) mine[c] += arrived[c];
      }
  }
}

template void Halo::forward(const Rows<float> &);
template void Halo::forward(const Rows<double> &);
template void Halo::reverse(const Rows<float> &);
template void Halo::reverse(const Rows<double> &);

}  // namespace tlmd
