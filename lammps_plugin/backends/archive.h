// SPDX-License-Identifier: MIT
// The zip archive of an exported file, and the checksums in it. No torch.
#ifndef TLMD_ARCHIVE_H
#define TLMD_ARCHIVE_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tlmd {

struct Entry {
  std::string name;
  uint32_t crc;   // CRC-32 of the content, unpacked
  uint64_t size;  // bytes of the content, unpacked
};

/// The entries of an archive in memory. Throws std::runtime_error unless the file is a whole archive whose two records
/// of each entry (in front of it and in the directory at the end) say the same, with nothing in between.
std::vector<Entry> entries_of(const std::string &file);

uint32_t crc32(const void *data, size_t size);

}  // namespace tlmd
#endif
