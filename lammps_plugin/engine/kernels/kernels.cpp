// Compiled once for each instruction set: -DTLMD_ISA=avx512|avx2|portable -DTLMD_VECTOR_BYTES=64|32|16. Nothing here
// may call inline functions of the standard library: the linker keeps one copy of each, and a copy made for AVX-512
// would stop an older processor.
#include "filter_table.h"
#include "geometry.h"
#include "head.h"
#include "message.h"
#include "moments.h"
#include "train_message.h"
#include "train_moments.h"
#include "train_update_backward.h"
#include "train_update_forward.h"
#include "update_backward.h"
#include "update_forward.h"

namespace tlmd::engine::TLMD_ISA {

template <class real> static void fill_table(Kernels<real> &k) {
  k.lanes = lanes<real>;
  k.pair_geometry = pair_geometry<real>;
  k.make_table = make_table<real>;
  k.table_back = table_back<real>;
  k.message_forward[false] = message_forward<false, real>;
  k.message_forward[true] = message_forward<true, real>;
  k.message_backward[false] = message_backward<false, real>;
  k.message_backward[true] = message_backward<true, real>;
  k.message_flux = message_flux<real>;
  k.train_message_forward[false] = train_message_forward<false, real>;
  k.train_message_forward[true] = train_message_forward<true, real>;
  k.train_message_backward[false] = train_message_backward<false, real>;
  k.train_message_backward[true] = train_message_backward<true, real>;
  k.moments_forward = moments_forward<real>;
  k.moments_backward = moments_backward<real>;
  k.train_moments_forward = train_moments_forward<real>;
  k.train_moments_backward = train_moments_backward<real>;
  k.update_forward = update_forward<real>;
  k.update_backward = update_backward<real>;
  k.train_update_forward = train_update_forward<real>;
  k.train_update_backward = train_update_backward<real>;
  k.kernel_head = kernel_head<real>;
}

void fill(Kernels<float> &kernels) { fill_table(kernels); }
void fill(Kernels<double> &kernels) { fill_table(kernels); }

}  // namespace tlmd::engine::TLMD_ISA
