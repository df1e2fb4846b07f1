// Choice of the instruction set at run time.
#include "engine/isa.h"

#include "kernels/d3_kernels.h"
#include "kernels/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace tlmd::engine {

#ifdef TLMD_X86
namespace avx512 {
void fill(Kernels<float> &);
void fill(Kernels<double> &);
void fill(D3Kernels &);
}  // namespace avx512
namespace avx2 {
void fill(Kernels<float> &);
void fill(Kernels<double> &);
void fill(D3Kernels &);
}  // namespace avx2
#endif
namespace portable {
void fill(Kernels<float> &);
void fill(Kernels<double> &);
void fill(D3Kernels &);
}  // namespace portable

std::vector<std::string> available_isas() {
  std::vector<std::string> isas;
#ifdef TLMD_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    isas.push_back("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas.push_back("avx2");
#endif
  isas.push_back("portable");
  return isas;
}

std::string choose_isa(const std::string &wanted) {
  const auto isas = available_isas();
  const char *forced = std::getenv("TLMD_ISA");
  const std::string name = wanted != "auto" ? wanted : forced && *forced ? forced : isas.front();
  if (std::find(isas.begin(), isas.end(), name) != isas.end()) return name;
  std::string list;
  for (const auto &isa : isas) list += (list.empty() ? "" : ", ") + isa;
  throw std::runtime_error("got instruction set " + name + "; wanted one of this processor's: " + list +
                           "; correct TLMD_ISA");
}

template <class Table> Table kernels_of(const char *isa) {
  const std::string name = isa;
  Table kernels;
#ifdef TLMD_X86
  if (name == "avx512") avx512::fill(kernels);
  if (name == "avx2") avx2::fill(kernels);
#endif
  if (name == "portable") portable::fill(kernels);
  return kernels;
}

template Kernels<float> kernels_of(const char *);
template Kernels<double> kernels_of(const char *);
template D3Kernels kernels_of(const char *);

}  // namespace tlmd::engine
