// SPDX-License-Identifier: MIT
#include "memory.h"

#include <cstdlib>
#include <limits>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace tlmd {

void keep_memory() {
#ifdef __GLIBC__
  const char *setting = std::getenv("TLMD_MALLOC");
  if (setting && std::string(setting) == "system") return;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 1 << 28);
#endif
}

}  // namespace tlmd
