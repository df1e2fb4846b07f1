// The instruction set, chosen at run time.
#ifndef TLMD_ENGINE_ISA_H
#define TLMD_ENGINE_ISA_H

#include <string>
#include <vector>

namespace tlmd::engine {

// Those of this processor, the best first: "avx512", "avx2", "portable".
std::vector<std::string> available_isas();

// One of these by name; "auto" takes TLMD_ISA from the environment, else the best. Throws std::runtime_error if the
// processor lacks it.
std::string choose_isa(const std::string &wanted);

}  // namespace tlmd::engine
#endif
