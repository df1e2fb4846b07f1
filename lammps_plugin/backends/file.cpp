// SPDX-License-Identifier: MIT
#include "file.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iterator>

namespace tlmd {

std::string read_everywhere(const char *file, MPI_Comm world) {
  std::string bytes;
  int me;
  MPI_Comm_rank(world, &me);
  if (me == 0) {
    try {
      std::ifstream stream(file, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(stream), {});
    } catch (const std::exception &) {  // a folder
      bytes.clear();
    }
  }
  int64_t size = (int64_t) bytes.size();
  MPI_Bcast(&size, 1, MPI_INT64_T, 0, world);
  bytes.resize(size);
  for (int64_t first = 0; first < size; first += 1 << 30)
    MPI_Bcast(&bytes[first], (int) std::min<int64_t>(size - first, 1 << 30), MPI_CHAR, 0, world);
  return bytes;
}

}  // namespace tlmd
