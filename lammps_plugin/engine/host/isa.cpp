// Choice of the instruction set at run time.
#include "../kernels/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace tlmd::engine {

#ifdef TLMD_X86
namespace avx512 {
void fill(Kernels<float> &);
void fill(Kernels<double> &);
}  // namespace avx512
namespace avx2 {
void fill(Kernels<float> &);
void fill(Kernels<double> &);
}  // namespace avx2
#endif
namespace portable {
void fill(Kernels<float> &);
void fill(Kernels<double> &);
}  // namespace portable

std::vector<std::string> available_isas() {
  std::vector<std::string> found;
#ifdef TLMD_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    found.push_back("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back("avx2");
#endif
  found.push_back("portable");
  return found;
}

std::string choose_isa(const std::string &wanted) {
  const auto found = available_isas();
  const char *forced = std::getenv("TLMD_ISA");
  const std::string name = wanted != "auto" ? wanted : forced && *forced ? forced : found.front();
  if (std::find(found.begin(), found.end(), name) != found.end()) return name;
  std::string list;
  for (const auto &isa : found) list += (list.empty() ? "" : ", ") + isa;
  throw std::runtime_error("got instruction set " + name + "; wanted one of this processor's: " + list +
                           "; correct TLMD_ISA");
}

template <class real> Kernels<real> kernels_of(const std::string &isa) {
  Kernels<real> kernels;
#ifdef TLMD_X86
  if (isa == "avx512") avx512::fill(kernels);
  if (isa == "avx2") avx2::fill(kernels);
#endif
  if (isa == "portable") portable::fill(kernels);
  return kernels;
}

template Kernels<float> kernels_of(const std::string &);
template Kernels<double> kernels_of(const std::string &);

}  // namespace tlmd::engine
