// SPDX-License-Identifier: GPL-2.0-only
// What plugin.cpp looks up in libtlmd_pair.so.
#include "pair_d3.h"
#include "pair_mekrr.h"

using namespace LAMMPS_NS;

extern "C" __attribute__((visibility("default"))) void *tlmd_create_tpainn(LAMMPS *lmp) { return new PairTPaiNN(lmp); }
extern "C" __attribute__((visibility("default"))) void *tlmd_create_mekrr(LAMMPS *lmp) { return new PairMEKRR(lmp); }
extern "C" __attribute__((visibility("default"))) void *tlmd_create_d3(LAMMPS *lmp) { return new PairD3(lmp); }
extern "C" __attribute__((visibility("default"))) const char *tlmd_torch_found() {
  static const std::string version = tlmd::TorchScript::torch_version();
  return version.c_str();
}
