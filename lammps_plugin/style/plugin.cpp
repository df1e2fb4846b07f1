// SPDX-License-Identifier: GPL-2.0-only
// Registration only. The pair styles lie in libtlmd_pair.so, which links libtorch: it is opened here, so that a wrong
// LAMMPS or torch is one clear line and not an undefined symbol.
#include "error.h"
#include "lammps.h"
#include "utils.h"

#include <dlfcn.h>

#include <cstring>
#include <string>

using namespace LAMMPS_NS;

// The plugin interface of LAMMPS (Developer guide, "Writing plugins").
struct lammpsplugin_t {
  const char *version, *style, *name, *info, *author;
  void *(*creator)(LAMMPS *);
  void *handle;
};
using Register = void (*)(lammpsplugin_t *, void *);

static std::string own_folder() {
  Dl_info info;
  dladdr(reinterpret_cast<void *>(&own_folder), &info);
  const std::string path = info.dli_fname;
  return path.substr(0, path.find_last_of('/') + 1);
}

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *instance, void *handle,
                                                                         void *register_function) {
  auto *lmp = static_cast<LAMMPS *>(instance);
  const std::string built = "tlmd plugin, built for LAMMPS " TLMD_LAMMPS_VERSION " and torch " TLMD_TORCH_VERSION;
  if (strcmp(lmp->version, TLMD_LAMMPS_VERSION) != 0) {
    lmp->error->warning(FLERR,
                        "{}: got LAMMPS {}; wanted {}; no pair styles tpainn and mekrr: install tlmd for this LAMMPS",
                        built, lmp->version, TLMD_LAMMPS_VERSION);
    return;
  }
  static void *pair = dlopen((own_folder() + "libtlmd_pair.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!pair) {
    lmp->error->warning(FLERR,
                        "{}: got {}; wanted libtorch " TLMD_TORCH_VERSION
                        "; no pair styles tpainn and mekrr: install tlmd beside that torch",
                        built, dlerror());
    return;
  }
  const auto torch_found = reinterpret_cast<const char *(*)()>(dlsym(pair, "tlmd_torch_found"));
  if (strcmp(torch_found(), TLMD_TORCH_VERSION) != 0) {
    lmp->error->warning(FLERR,
                        "{}: got torch {}; wanted " TLMD_TORCH_VERSION
                        "; no pair styles tpainn and mekrr: install tlmd beside that torch",
                        built, torch_found());
    return;
  }
  constexpr const char *MODEL = "transfer-learned PaiNN, or a kernel on its features (tlmd)";
  static const char *const styles[][3] = {{"tpainn", "tlmd_create_tpainn", MODEL},
                                          {"mekrr", "tlmd_create_mekrr", MODEL},
                                          {"d3", "tlmd_create_d3", "Grimme's dispersion D3 (tlmd)"}};
  for (const auto &[name, creator, info] : styles) {
    lammpsplugin_t plugin{};  // copied by LAMMPS
    plugin.version = TLMD_LAMMPS_VERSION;
    plugin.style = "pair";
    plugin.name = name;
    plugin.info = info;
    plugin.author = "the tlmd authors";
    plugin.creator = reinterpret_cast<void *(*)(LAMMPS *)>(dlsym(pair, creator));
    plugin.handle = handle;
    reinterpret_cast<Register>(register_function)(&plugin, instance);
  }
}
