// The table of kernels. The same source is compiled once for each instruction set (kernels.cpp), and host/isa.cpp
// chooses a table at run time.
#ifndef TLMD_ENGINE_KERNELS_H
#define TLMD_ENGINE_KERNELS_H

#include "arguments.h"

namespace tlmd::engine {

template <class real> struct Kernels {
  int lanes = 0;  // channels in a block

  // vectors (n, 3) A -> bin (n,) and geometry (n,)
  void (*pair_geometry)(const double *vectors, int n, int n_bins, double cutoff, int *bin,
                        PairGeometry<real> *) = nullptr;
  // The filter table of one channel block (rows, 3, lanes) from basis functions (rows, n_basis) and filters (n_basis,
  // 3, lanes), and in reverse.
  void (*make_table)(const double *basis, int rows, int n_basis, const double *filters, real *table) = nullptr;
  void (*table_back)(const double *basis, int rows, int n_basis, const real *table, double *filters) = nullptr;

  // Messages: [true] of layer 1, [false] of the others.
  void (*message_forward[2])(const PairList<real> &, const Message<real> &) = {};
  void (*message_backward[2])(const PairList<real> &, const Message<real> &) = {};
  void (*message_flux)(const PairList<real> &, const MessageFlux<real> &) = nullptr;
  void (*train_message_forward[2])(const PairList<real> &, const TrainMessage<real> &) = {};
  void (*train_message_backward[2])(const PairList<real> &, const TrainMessage<real> &) = {};

  // Layer 1 by moments. Forward: atoms first .. end-1 get their sums. Backward: pairs of the centres first .. end-1 get
  // their slopes.
  void (*moments_forward)(const PairList<real> &, const Moments<real> &, int first, int end) = nullptr;
  void (*moments_backward)(const PairList<real> &, const Moments<real> &, int first, int end) = nullptr;
  void (*train_moments_forward)(const PairList<real> &, const Moments<real> &, const real *changes, int first,
                                int end) = nullptr;
  void (*train_moments_backward)(const PairList<real> &, const Dual<Moments<real>> &, const real *changes,
                                 const real *slope_changes, int first, int end) = nullptr;

  // Atoms first .. first+count-1, count <= TILE.
  void (*update_forward)(const Update<real> &, int first, int count) = nullptr;
  void (*update_backward)(const Update<real> &, int first, int count) = nullptr;
  void (*train_update_forward)(const TrainUpdate<real> &, int first, int count) = nullptr;
  void (*train_update_backward)(const TrainUpdate<real> &, int first, int count) = nullptr;
  void (*kernel_head)(const KernelHead<real> &, int first, int count) = nullptr;
};

// Those of an instruction set, as choose_isa names it: Kernels<float>, Kernels<double>, D3Kernels.
template <class Table> Table kernels_of(const char *isa);

}  // namespace tlmd::engine
#endif
