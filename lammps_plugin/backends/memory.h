// SPDX-License-Identifier: MIT
#ifndef TLMD_MEMORY_H
#define TLMD_MEMORY_H

namespace tlmd {

/// torch asks for and frees the same large blocks at every step; glibc by default returns each of them to the kernel,
/// which makes a step up to three times slower. Keep them; not with TLMD_MALLOC=system in the environment.
void keep_memory();

}  // namespace tlmd
#endif
