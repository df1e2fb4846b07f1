// SPDX-License-Identifier: MIT
// A file on all ranks. MPI only.
#ifndef TLMD_FILE_H
#define TLMD_FILE_H

#include <mpi.h>

#include <string>

namespace tlmd {

/// Collective: rank 0 reads, all ranks get the bytes; none if the file is missing, empty or a folder.
std::string read_everywhere(const char *file, MPI_Comm world);

}  // namespace tlmd
#endif
