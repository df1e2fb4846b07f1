// SPDX-License-Identifier: GPL-2.0-only
#include "pair_tpainn.h"

#include "backends/file.h"
#include "checks.h"
#include "units.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "exceptions.h"
#include "force.h"
#include "memory.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

using namespace LAMMPS_NS;

PairTPaiNN::PairTPaiNN(LAMMPS *lmp) : Pair(lmp), rows(lmp), contacts(lmp, options) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  comm_forward = 2;
}

PairTPaiNN::~PairTPaiNN() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(cutghost);
}

void PairTPaiNN::refuse(const std::string &text, const char *command) {
  if (!text.empty()) error->all(FLERR, "{} {}: {}", command, kind(), text);
}

tlmd::Evaluator &PairTPaiNN::evaluator() {
  if (native) return *native;
  return *model;
}

void PairTPaiNN::regrouped(bool) {}
void PairTPaiNN::evaluated(int) {}

void PairTPaiNN::allocate() {
  const int n = atom->ntypes;
  memory->create(setflag, n + 1, n + 1, "pair:setflag");
  memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
  memory->create(cutghost, n + 1, n + 1, "pair:cutghost");
  map = new int[n + 1];
  for (int i = 0; i <= n; i++) {
    map[i] = -1;
    for (int j = 0; j <= n; j++) setflag[i][j] = 0;
  }
  allocated = 1;
}

void PairTPaiNN::settings(int narg, char **arg) {
  try {
    options = tlmd::read_settings(keywords(), {arg, arg + narg});
  } catch (const std::exception &e) {
    refuse(e.what());
  }
  if (options.backend == "native" && options.device == "cuda")
    refuse("got backend native on device cuda; wanted device cpu or auto; or use backend torchscript");
}

void PairTPaiNN::load(const char *file) {
  const std::string bytes = tlmd::read_everywhere(file, world);
  if (bytes.empty())
    refuse(fmt::format("got {}, missing or empty; wanted a file written by tl-export; check the path", file));
  const std::string device = options.backend == "native" ? "cpu" : options.device;
  std::string summary;
  try {
    model = std::make_unique<tlmd::TorchScript>(bytes, file, kind(), device, comm->me);
    if (options.check) model->self_test();
    summary = model->summary;
    native.reset();
    first_step = true;
    loaded();
    if (model->hops && options.backend == "native")
      throw std::runtime_error(
          "got backend native and a backbone that is TorchScript; wanted PaiNN; leave out backend");
    if (options.backend != "torchscript" && !model->on_gpu && !model->hops) summary += start_native();
  } catch (const std::exception &e) {
    const std::string text = e.what();
    refuse(text.substr(0, text.find('\n')));
  }
  if (comm->me == 0) utils::logmesg(lmp, "pair_style {}: {}\n", kind(), summary);
}

// Returns what the log says of it. Rank 0 chooses the table, so that all ranks have the same.
std::string PairTPaiNN::start_native() {
  const auto weights = model->weights();
  references = weights.reference;
  const bool float64 = model->card.float64;
  tlmd::engine::TableChoice table{0, 0.0};
  if (comm->me == 0)
    table = tlmd::engine::choose_bins(weights, model->test_cluster(), tlmd::engine::table_tolerance(float64));
  MPI_Bcast(&table.n_bins, 1, MPI_INT, 0, world);
  native = tlmd::native(weights, float64, table.n_bins);
  return fmt::format(", native engine on {} ({} bins, table error {:.1e} of the rms force)", native->isa(),
                     table.n_bins, table.error);
}

void PairTPaiNN::coeff(int narg, char **arg) {
  const char *command = "pair_coeff for";
  if (!allocated) allocate();
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    refuse(
        fmt::format("got {} arguments; wanted `* * FILE` and an element for each type; correct the input line", narg),
        command);
  if (narg - 3 != atom->ntypes)
    refuse(fmt::format("got {} elements; wanted {}, one for each atom type (NULL for types of another style); correct "
                       "the input line",
                       narg - 3, atom->ntypes),
           command);
  load(arg[2]);
  names.assign(arg + 2, arg + narg);
  name_types();
}

// Species of each type by its name, and which pairs of types are this style's.
void PairTPaiNN::name_types() {
  const char *command = "pair_coeff for";
  const auto &known = model->card.elements;
  for (int type = 1; type <= atom->ntypes; type++) {
    const std::string &name = names[type];
    const auto found = std::find(known.begin(), known.end(), name);
    map[type] = found == known.end() ? -1 : (int) (found - known.begin());
    if (name == "NULL" && !utils::strmatch(force->pair_style, "^hybrid"))
      refuse(fmt::format("got NULL for type {}; wanted an element for every type; name it, or use pair_style hybrid "
                         "with another style for this type",
                         type),
             command);
    if (map[type] >= 0 || name == "NULL") continue;
    std::string list;
    for (const auto &element : known) list += " " + element;
    refuse(fmt::format("got element {}; wanted one that the model knows:{}; use a model trained on it, or NULL", name,
                       list),
           command);
  }
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = map[i] >= 0 && map[j] >= 0;
}

void PairTPaiNN::init_style() {
  unit_energy = tlmd::energy_unit(update->unit_style);
  if (unit_energy == 0)
    refuse(fmt::format("got units {}; wanted metal or real; change the units command", update->unit_style));
  if (!force->newton_pair) refuse("got newton off; wanted newton on for pairs; remove the newton command");
  const Checks checks(lmp, map);
  refuse(checks.bonds());
  refuse(checks.exclusions());
  if (options.masses) refuse(checks.masses(model->card.elements, names));
  miss_baseline();
  ghostneigh = range() > model->card.reach;
  neighbor->add_request(this, NeighConst::REQ_FULL | (ghostneigh ? NeighConst::REQ_GHOST : 0));
  if (ghostneigh) widen_ghosts();
  contacts.start(model->card, kind());
  planned = false;
}

// A model trained on labels less a baseline is half a potential without it.
void PairTPaiNN::miss_baseline() {
  for (const auto &style : model->card.baseline)
    if (!force->pair_match("^" + style, 0, 1) && !(style == "dispersion/d3" && force->pair_match("d3", 1, 1)) &&
        comm->me == 0)
      error->warning(FLERR,
                     "pair_style {}: the model's labels were less the baseline {}, which this input does not add; use "
                     "pair_style hybrid/overlay with the lines that tl-export prints",
                     kind(), style);
}

// How far ghosts are wanted, A. One rank has every atom itself, and exchanged features bring what is farther.
double PairTPaiNN::range() const { return model->card.reach * (comm->nprocs > 1 ? std::max(model->hops, 1) : 1); }

void PairTPaiNN::widen_ghosts() {
  if (comm->mode != Comm::SINGLE || (neighbor->style != Neighbor::BIN && neighbor->style != Neighbor::NSQ))
    refuse("got neighbor style or comm mode multi; wanted bin and single, for neighbours of ghosts; correct the input");
  if (comm->cutghostuser >= range() + neighbor->skin) return;
  comm->cutghostuser = range() + neighbor->skin;
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: ghosts out to {} A, the range of the backbone ({} times its cutoff)\n", kind(),
                   range(), model->hops);
}

double PairTPaiNN::init_one(int i, int j) { return cutghost[i][j] = cutghost[j][i] = model->card.reach; }

int PairTPaiNN::pack_forward_comm(int n, int *list, double *buf, int, int *) {
  rows.pack(n, list, buf);
  return 2 * n;
}

void PairTPaiNN::unpack_forward_comm(int n, int first, double *buf) { rows.unpack(n, first, buf); }

// Positions -> pairs; rows anew where atoms have moved between ranks.
void PairTPaiNN::gather() {
  const bool moved = neighbor->ago == 0 || !planned;
  if (!planned) refuse(Checks(lmp, map).other_styles(*list));  // earlier the list does not say it
  if (moved) {
    if (comm->get_comm_cutoff() < range())
      refuse(fmt::format("got ghosts up to {} A; wanted {} A, the model's range; use comm_modify cutoff",
                         comm->get_comm_cutoff(), range()));
    rows.plan(this, list, map, model->card.reach, model->hops);
  }
  std::string bad;
  try {
    rows.gather();
  } catch (const std::exception &e) {
    if (!moved) throw;
    bad = e.what();
  }
  if (moved) {
    refuse(Checks(lmp, map).of_any_rank(bad));  // by all ranks: MPI_Abort of some can lose their line
    regrouped(!planned);
  }
  planned = true;
}

void PairTPaiNN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  try {
    gather();
    contacts.look(rows);
    first_checks();
    evaluator().evaluate(rows.pairs, rows.halo, result, comm->nthreads);
    evaluated(eflag);
    scatter();
  } catch (const LAMMPSException &) {  // a refusal
    throw;
  } catch (const std::exception &e) {
    const std::string text = e.what();
    error->one(FLERR, "pair_style {}: {}", kind(), text.substr(0, text.find('\n')));
  }
}

// Energies and slopes -> f, energy, virial, per-atom energy and virial
void PairTPaiNN::scatter() {
  const auto &pairs = rows.pairs;
  const int *atom_of = rows.atom_of.data();
  const double unit = unit_energy;
  double **f = atom->f;
  for (int c = 0; c < pairs.n_owned; c++) {
    const double energy = result.energies[c] * unit;
    if (!std::isfinite(energy))
      throw std::runtime_error(fmt::format("got energy {} of atom {} at step {}; wanted a finite number; look at its "
                                           "surroundings, shorten the timestep, or report this model",
                                           energy, atom->tag[atom_of[c]], update->ntimestep));
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[atom_of[c]] += energy;
  }
  for (int c = 0; c < (int) pairs.directed.size(); c++) {
    const int i = atom_of[c];
    for (int p = pairs.first[c]; p < pairs.first[c + 1]; p++) {
      const int j = atom_of[pairs.neighbour[p]];
      const double *slope = &result.slopes[3 * (size_t) p];
      const double g[3] = {slope[0] * unit, slope[1] * unit, slope[2] * unit};  // dE/dr_ij
      for (int d = 0; d < 3; d++) {
        f[i][d] += g[d];
        f[j][d] -= g[d];
      }
      if (!vflag_either) continue;
      const double *r = &pairs.vectors[3 * (size_t) p];
      const double w[6] = {-r[0] * g[0],
                           -r[1] * g[1],
                           -r[2] * g[2],
                           -0.5 * (r[0] * g[1] + r[1] * g[0]),
                           -0.5 * (r[0] * g[2] + r[2] * g[0]),
                           -0.5 * (r[1] * g[2] + r[2] * g[1])};
      for (int v = 0; v < 6; v++) {
        if (vflag_global) virial[v] += w[v];
        if (!vflag_atom) continue;
        vatom[i][v] += 0.5 * w[v];  // half of a pair's virial to each of its atoms
        vatom[j][v] += 0.5 * w[v];
      }
    }
  }
}

double PairTPaiNN::memory_usage() { return Pair::memory_usage() + rows.bytes() + (native ? native->memory() : 0.0); }
