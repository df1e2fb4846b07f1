// Compiled once for each instruction set: -DTLMD_ISA=avx512|avx2|portable -DTLMD_VECTOR_BYTES=64|32|16. Nothing here
// may call inline functions of the standard library: the linker keeps one copy of each, and a copy made for AVX-512
// would stop an older processor.
#include "filter_table.h"
#include "geometry.h"
#include "head.h"
#include "message.h"
#include "moments.h"
#include "train_message.h"
#include "train_update.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> static Kernels<real> all() {
  return {lanes<real>,
          pair_geometry<real>,
          {message_forward<false, real>, message_forward<true, real>},
          {message_backward<false, real>, message_backward<true, real>},
          moments_forward<real>,
          moments_backward<real>,
          moments_tangent<real>,
          moments_tangent_backward<real>,
          update_forward<real>,
          update_backward<real>,
          {train_message_forward<false, real>, train_message_forward<true, real>},
          {train_message_backward<false, real>, train_message_backward<true, real>},
          train_forward<real>,
          train_backward<real>,
          kernel_head<real>,
          make_table<real>,
          table_back<real>};
}

void fill(Kernels<float> &kernels) { kernels = all<float>(); }
void fill(Kernels<double> &kernels) { kernels = all<double>(); }

}  // namespace tlmd::engine::TLMD_ISA
