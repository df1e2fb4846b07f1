// SPDX-License-Identifier: MIT
// The file of D3 for the elements of a model (MODEL-d3.json), as tl-export writes it. No torch.
#ifndef TLMD_D3_FILE_H
#define TLMD_D3_FILE_H

#include "engine/d3.h"

#include <string>
#include <vector>

namespace tlmd {

struct D3File {
  std::vector<std::string> elements;  // in the order of the parameters, each once
  engine::D3Parameters parameters;
  std::string summary;  // in words, for the log
};

/// Reads `bytes` of the file `name`. Throws std::runtime_error with one line that says got / wanted / do.
D3File read_d3(const std::string &bytes, const std::string &name);

}  // namespace tlmd
#endif
