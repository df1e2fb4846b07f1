// SPDX-License-Identifier: GPL-2.0-only
#include "pair_elements.h"

#include "checks.h"
#include "units.h"

#include "atom.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <stdexcept>

using namespace LAMMPS_NS;

PairElements::PairElements(LAMMPS *lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairElements::~PairElements() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairElements::refuse(const std::string &text, const char *command) {
  if (!text.empty()) error->all(FLERR, "{} {}: {}", command, kind(), text);
}

void PairElements::allocate() {
  const int n = atom->ntypes;
  memory->create(setflag, n + 1, n + 1, "pair:setflag");
  memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
  map = new int[n + 1];
  for (int i = 0; i <= n; i++) {
    map[i] = -1;
    for (int j = 0; j <= n; j++) setflag[i][j] = 0;
  }
  allocated = 1;
}

void PairElements::settings(int narg, char **arg) {
  try {
    options = tlmd::read_settings(keywords(), {arg, arg + narg}, usual());
  } catch (const std::exception &e) {
    refuse(e.what());
  }
}

void PairElements::name_types(const std::vector<std::string> &known, bool alone, const char *wanted,
                              const char *action) {
  const char *command = "pair_coeff for";
  for (int type = 1; type <= atom->ntypes; type++) {
    const std::string &name = names[type];
    const auto found = std::find(known.begin(), known.end(), name);
    map[type] = found == known.end() ? -1 : (int) (found - known.begin());
    if (name == "NULL" && !alone && !utils::strmatch(force->pair_style, "^hybrid"))
      refuse(fmt::format("got NULL for type {}; wanted an element for every type; name it, or use pair_style hybrid "
                         "with another style for this type",
                         type),
             command);
    if (map[type] >= 0 || name == "NULL") continue;
    std::string list;
    for (const auto &element : known) list += " " + element;
    refuse(fmt::format("got element {}; wanted {}:{}; {}, or NULL", name, wanted, list, action), command);
  }
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = map[i] >= 0 && map[j] >= 0;
}

void PairElements::check_input(const std::vector<std::string> &known) {
  unit_energy = tlmd::energy_unit(update->unit_style);
  if (unit_energy == 0)
    refuse(fmt::format("got units {}; wanted metal or real; change the units command", update->unit_style));
  if (!force->newton_pair) refuse("got newton off; wanted newton on for pairs; remove the newton command");
  const Checks checks(lmp, map);
  refuse(checks.bonds());
  refuse(checks.exclusions());
  if (options.masses) refuse(checks.masses(known, names));
}
