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
  n_ghosts = (int) ghosts.size();
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

template <class real> static real *room(std::vector<double> &buffer, size_t n) {
  if (buffer.size() * sizeof(double) < n * sizeof(real)) buffer.resize(n * sizeof(real) / sizeof(double) + 1);
  return reinterpret_cast<real *>(buffer.data());
}

template <class real> void Halo::forward(const Rows<real> &rows) {
  const size_t width = rows.width, whole = width * rows.n_blocks;
  real *out = room<real>(own_buffer, sent_rows.size() * whole), *in = room<real>(ghost_buffer, n_ghosts * whole);
  real *p = out;
  for (int row : sent_rows)
    for (int b = 0; b < rows.n_blocks; b++, p += width)
      std::copy_n(rows.first + b * rows.stride + row * width, width, p);
  exchange(out, to_ranks, in, from_ranks, (int) whole);
  for (int g = 0; g < n_ghosts; g++)
    for (int b = 0; b < rows.n_blocks; b++, in += width)
      std::copy_n(in, width, rows.first + b * rows.stride + (rows.n_owned + g) * width);
}

template <class real> void Halo::reverse(const Rows<real> &rows) {
  const size_t width = rows.width, whole = width * rows.n_blocks;
  real *in = room<real>(own_buffer, sent_rows.size() * whole), *out = room<real>(ghost_buffer, n_ghosts * whole);
  real *p = out;
  for (int g = 0; g < n_ghosts; g++)
    for (int b = 0; b < rows.n_blocks; b++, p += width)
      std::copy_n(rows.first + b * rows.stride + (rows.n_owned + g) * width, width, p);
  exchange(out, from_ranks, in, to_ranks, (int) whole);
  for (int row : sent_rows)
    for (int b = 0; b < rows.n_blocks; b++, in += width) {
      real *own = rows.first + b * rows.stride + row * width;
      for (size_t c = 0; c < width; c++) own[c] += in[c];
    }
}

template void Halo::forward(const Rows<float> &);
template void Halo::forward(const Rows<double> &);
template void Halo::reverse(const Rows<float> &);
template void Halo::reverse(const Rows<double> &);

}  // namespace tlmd
