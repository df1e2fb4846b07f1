// SPDX-License-Identifier: MIT
// How the backends refuse what they cannot use.
#ifndef TLMD_REFUSAL_H
#define TLMD_REFUSAL_H

#include <stdexcept>
#include <string>

namespace tlmd {

/// Throws std::runtime_error with one line: got ...; wanted ...; what to do.
[[noreturn]] inline void refuse(const std::string &got, const std::string &wanted, const std::string &action) {
  throw std::runtime_error("got " + got + "; wanted " + wanted + "; " + action);
}

}  // namespace tlmd
#endif
