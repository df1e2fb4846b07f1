#include "halo.h"

#include <algorithm>

namespace tlmd {

static MPI_Datatype mpi_type(const float *) { return MPI_FLOAT; }
static MPI_Datatype mpi_type(const double *) { return MPI_DOUBLE; }

void Halo::plan(const std::vector<Owner> &ghosts) {
  int n_ranks;
  MPI_Comm_size(world, &n_ranks);
  std::vector<int> wanted(n_ranks, 0), asked(n_ranks, 0), wanted_rows;
  for (const auto &[rank, row] : ghosts) {
    wanted[rank]++;
    wanted_rows.push_back(row);
  }
  MPI_Alltoall(wanted.data(), 1, MPI_INT, asked.data(), 1, MPI_INT, world);

  std::vector<int> wanted_first(n_ranks, 0), asked_first(n_ranks, 0);
  for (int r = 1; r < n_ranks; r++) {
    wanted_first[r] = wanted_first[r - 1] + wanted[r - 1];
    asked_first[r] = asked_first[r - 1] + asked[r - 1];
  }
  sent_rows.resize(asked_first.back() + asked.back());
  MPI_Alltoallv(wanted_rows.data(), wanted.data(), wanted_first.data(), MPI_INT, sent_rows.data(), asked.data(),
                asked_first.data(), MPI_INT, world);

  to_ranks.clear();
  from_ranks.clear();
  for (int r = 0; r < n_ranks; r++) {
    if (asked[r]) to_ranks.push_back({r, asked_first[r], asked[r]});
    if (wanted[r]) from_ranks.push_back({r, wanted_first[r], wanted[r]});
  }
}

template <class real>
void Halo::exchange(const real *out, const std::vector<Block> &send, real *in, const std::vector<Block> &receive,
                    int width) {
  requests.clear();
  for (const Block &b : receive)
    MPI_Irecv(in + (size_t) b.first * width, b.count * width, mpi_type(in), b.rank, 0, world, &requests.emplace_back());
  for (const Block &b : send)
    MPI_Isend(out + (size_t) b.first * width, b.count * width, mpi_type(out), b.rank, 0, world,
              &requests.emplace_back());
  MPI_Waitall((int) requests.size(), requests.data(), MPI_STATUSES_IGNORE);
}

template <class real> void Halo::forward(const real *owned, real *ghosts, int width) {
  std::vector<real> out(sent_rows.size() * width);
  for (size_t k = 0; k < sent_rows.size(); k++)
    std::copy_n(owned + (size_t) sent_rows[k] * width, width, out.data() + k * width);
  exchange(out.data(), to_ranks, ghosts, from_ranks, width);
}

template <class real> void Halo::reverse(real *owned, const real *ghosts, int width) {
  std::vector<real> in(sent_rows.size() * width);
  exchange(ghosts, from_ranks, in.data(), to_ranks, width);
  for (size_t k = 0; k < sent_rows.size(); k++) {
    real *row = owned + (size_t) sent_rows[k] * width;
    for (int c = 0; c < width; c++) row[c] += in[k * width + c];
  }
}

template void Halo::forward(const float *, float *, int);
template void Halo::forward(const double *, double *, int);
template void Halo::reverse(float *, const float *, int);
template void Halo::reverse(double *, const double *, int);

}  // namespace tlmd
