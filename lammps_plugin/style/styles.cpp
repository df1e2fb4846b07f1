// SPDX-License-Identifier: GPL-2.0-only
// What plugin.cpp looks up in libtlmd_pair.so.
#include "backends/torchscript.h"
#include "pair_tpainn.h"

using namespace LAMMPS_NS;

extern "C" __attribute__((visibility("default"))) void *tlmd_create_tpainn(LAMMPS *lmp) {
  return new PairTPaiNN(lmp, "tpainn");
}
extern "C" __attribute__((visibility("default"))) void *tlmd_create_mekrr(LAMMPS *lmp) {
  return new PairTPaiNN(lmp, "mekrr");
}
extern "C" __attribute__((visibility("default"))) const char *tlmd_torch_found() {
  static const std::string version = tlmd::Model::torch_version();
  return version.c_str();
}
