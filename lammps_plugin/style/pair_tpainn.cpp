// SPDX-License-Identifier: GPL-2.0-only
#include "pair_tpainn.h"

#include "backends/elements.h"
#include "checks.h"

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

PairTPaiNN::PairTPaiNN(LAMMPS *lmp, Watch::Quantity quantity)
    : PairElements(lmp), rows(lmp), contacts(lmp, options), committee(lmp), watch(lmp, quantity, options) {
  comm_forward = 2;
  comm_reverse = 3;
  centroidstressflag = CENTROID_AVAIL;
  nextra = 2;  // compute pair
  pvector = watch.summary();
}

PairTPaiNN::~PairTPaiNN() {
  if (!copymode && allocated) memory->destroy(cutghost);
}

void PairTPaiNN::settings(int narg, char **arg) {
  PairElements::settings(narg, arg);
  if (options.backend == "native" && options.device == "cuda")
    refuse("got backend native on device cuda; wanted device cpu or auto; or use backend torchscript");
}

void PairTPaiNN::load(const std::vector<std::string> &files) {
  std::vector<std::unique_ptr<Model>> read;
  try {
    for (const auto &file : files) {
      read.push_back(std::make_unique<Model>(lmp, file, kind(), options));
      if (comm->me == 0) utils::logmesg(lmp, "pair_style {}: {}\n", kind(), read.back()->summary());
    }
    model = std::move(read.front());
    read.erase(read.begin());
    committee.take(std::move(read), *model);
  } catch (const std::exception &e) {
    const std::string text = e.what();
    refuse(text.substr(0, text.find('\n')));
  }
  first_step = true;
  nextra = no_deviations().empty() ? 2 : 0;
  loaded();
}

// The files are what stands before one element for each atom type.
int PairTPaiNN::count_files(int narg, char **arg) {
  const char *command = "pair_coeff for";
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    refuse(
        fmt::format("got {} arguments; wanted `* * FILE` and an element for each type; correct the input line", narg),
        command);
  int n = 1;  // an element is no file
  while (2 + n < narg - atom->ntypes && !tlmd::is_element(arg[2 + n]) && strcmp(arg[2 + n], "NULL") != 0) n++;
  if (narg - 2 - n != atom->ntypes)
    refuse(fmt::format("got {} elements; wanted {}, one for each atom type (NULL for types of another style); correct "
                       "the input line",
                       narg - 2 - n, atom->ntypes),
           command);
  if (n > 1 && !takes_committees())
    refuse(fmt::format("got {} files; wanted one: this style has no committees; name one", n), command);
  return n;
}

void PairTPaiNN::coeff(int narg, char **arg) {
  if (!allocated) {
    allocate();
    memory->create(cutghost, atom->ntypes + 1, atom->ntypes + 1, "pair:cutghost");
  }
  const int n_files = count_files(narg, arg);
  load({arg + 2, arg + 2 + n_files});
  names.assign(arg + 1 + n_files, arg + narg);
  name_types(model->card().elements, false, "one that the model knows", "use a model trained on it");
}

void PairTPaiNN::init_style() {
  check_input(model->card().elements);
  miss_baseline();
  ghostneigh = range() > model->card().reach;
  neighbor->add_request(this, NeighConst::REQ_FULL | (ghostneigh ? NeighConst::REQ_GHOST : 0));
  if (ghostneigh) widen_ghosts();
  contacts.start(model->card(), kind());
  if (watch.on()) refuse(no_deviations());
  try {
    watch.start(model->card(), kind(), unit_energy, (int) committee.models().size() + 1);
  } catch (const std::exception &e) {
    refuse(e.what());
  }
  planned = false;
}

// A model trained on labels less a baseline is half a potential without it.
void PairTPaiNN::miss_baseline() {
  for (const auto &style : model->card().baseline)
    if (!force->pair_match("^" + style, 0, 1) && !(style == "dispersion/d3" && force->pair_match("d3", 1, 1)) &&
        comm->me == 0)
      error->warning(FLERR,
                     "pair_style {}: the model's labels were less the baseline {}, which this input does not add; use "
                     "pair_style hybrid/overlay with the lines that tl-export prints",
                     kind(), style);
}

// How far ghosts are wanted, A. One rank has every atom itself, and exchanged features bring what is farther.
double PairTPaiNN::range() const {
  return model->card().reach * (comm->nprocs > 1 ? std::max(model->script->hops, 1) : 1);
}

void PairTPaiNN::widen_ghosts() {
  if (comm->mode != Comm::SINGLE || (neighbor->style != Neighbor::BIN && neighbor->style != Neighbor::NSQ))
    refuse("got neighbor style or comm mode multi; wanted bin and single, for neighbours of ghosts; correct the input");
  if (comm->cutghostuser >= range() + neighbor->skin) return;
  comm->cutghostuser = range() + neighbor->skin;
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: ghosts out to {} A, the range of the backbone ({} times its cutoff)\n", kind(),
                   range(), model->script->hops);
}

double PairTPaiNN::init_one(int i, int j) { return cutghost[i][j] = cutghost[j][i] = model->card().reach; }

int PairTPaiNN::pack_forward_comm(int n, int *list, double *buf, int, int *) {
  rows.pack(n, list, buf);
  return 2 * n;
}

void PairTPaiNN::unpack_forward_comm(int n, int first, double *buf) { rows.unpack(n, first, buf); }

int PairTPaiNN::pack_reverse_comm(int n, int first, double *buf) { return committee.pack(n, first, buf); }

void PairTPaiNN::unpack_reverse_comm(int n, int *list, double *buf) { committee.unpack(n, list, buf); }

void *PairTPaiNN::extract(const char *name, int &dim) {
  dim = 0;
  return strcmp(name, "deviation_flag") == 0 ? watch.trigger() : nullptr;
}

void *PairTPaiNN::extract_peratom(const char *name, int &n_columns) {
  n_columns = 0;
  return strcmp(name, "deviation") == 0 ? watch.of_atoms() : nullptr;
}

// Positions -> pairs; rows anew where atoms have moved between ranks.
void PairTPaiNN::gather() {
  const bool moved = neighbor->ago == 0 || !planned;
  if (!planned) refuse(Checks(lmp, map).other_styles(*list));  // earlier the list does not say it
  if (moved) {
    if (comm->get_comm_cutoff() < range())
      refuse(fmt::format("got ghosts up to {} A; wanted {} A, the model's range; use comm_modify cutoff",
                         comm->get_comm_cutoff(), range()));
    rows.plan(this, list, map, model->card().reach, model->script->hops);
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

// What a run needs beyond LAMMPS itself is said before it is asked for.
void PairTPaiNN::first_checks() {
  if (!first_step) return;
  first_step = false;
  say_memory();
  if (!options.check) return;
  refuse(model->check(rows));
  for (const auto &other : committee.models()) refuse(other->check(rows));
}

void PairTPaiNN::say_memory() {
  if (!model->native) return;
  double mib = model->needed_mib(rows) + rows.bytes() / (1 << 20), total, largest;
  for (const auto &other : committee.models()) mib += other->needed_mib(rows);
  MPI_Reduce(&mib, &total, 1, MPI_DOUBLE, MPI_SUM, 0, world);
  MPI_Reduce(&mib, &largest, 1, MPI_DOUBLE, MPI_MAX, 0, world);
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: needs about {:.3g} MiB, {:.3g} MiB on the largest of {} ranks\n", kind(), total,
                   largest, comm->nprocs);
}

std::string PairTPaiNN::no_deviations() const {
  if (!committee.empty()) return "";
  return "got one model, which has no deviations; wanted the files of a committee in pair_coeff; name them, or leave "
         "out halt, dump and fix pair";
}

// With the mean over all atoms, for compute pair.
Deviations PairTPaiNN::find_deviations() {
  Deviations found{committee.deviations(this, rows, result), 0.0};
  double sums[2] = {0.0, (double) found.atoms.size()};
  for (double value : found.atoms) sums[0] += value;
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  found.second = sums[1] > 0 ? sums[0] / sums[1] : 0.0;
  return found;
}

void PairTPaiNN::look_at_deviations(int eflag) {
  const std::string none = no_deviations();
  if (watch.asked()) refuse(none);
  if (none.empty() && watch.wanted(eflag)) watch.look(find_deviations(), rows, names);
}

void PairTPaiNN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  try {
    gather();
    contacts.look(rows);
    first_checks();
    want_flux();
    model->evaluator().evaluate(rows.pairs, rows.halo, result, comm->nthreads);
    look_at_deviations(eflag);
    scatter();
    if (cvflag_atom) scatter_flux();
  } catch (const LAMMPSException &) {  // a refusal
    throw;
  } catch (const std::exception &e) {
    const std::string text = e.what();
    error->one(FLERR, "pair_style {}: {}", kind(), text.substr(0, text.find('\n')));
  }
}

// compute centroid/stress/atom is asked for at this step.
void PairTPaiNN::want_flux() {
  if (model->native) model->native->want_flux(cvflag_atom);
  if (!cvflag_atom) return;
  if (!model->native)
    refuse(
        "got compute centroid/stress/atom for a model that libtorch evaluates; wanted the native engine, which alone "
        "has its heat flux; use backend native on the CPU");
  rows.pairs = tlmd::engine::directed(rows.pairs);
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

// W_j = sum_k (r_k - r_j) dE_k/dr_j, eq. 33 of Fan et al., Phys. Rev. B 92, 094301 (2015), for compute
// centroid/stress/atom and, by it, compute heat/flux. Pairs are directed.
void PairTPaiNN::scatter_flux() {
  static constexpr int COLUMN[3][3] = {{0, 3, 4}, {6, 1, 5}, {7, 8, 2}};
  const auto &pairs = rows.pairs;
  for (int c = 0; c < (int) pairs.directed.size(); c++) {
    double *of_centre = cvatom[rows.atom_of[c]];
    for (int p = pairs.first[c]; p < pairs.first[c + 1]; p++) {
      double *of_neighbour = cvatom[rows.atom_of[pairs.neighbour[p]]];
      for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) {
          const double flux = result.flux[9 * (size_t) p + 3 * a + b] * unit_energy;
          const double slope = result.slopes[3 * (size_t) p + b] * unit_energy;
          of_centre[COLUMN[a][b]] -= flux;
          of_neighbour[COLUMN[a][b]] += flux - pairs.vectors[3 * (size_t) p + a] * slope;
        }
    }
  }
}

double PairTPaiNN::memory_usage() { return Pair::memory_usage() + rows.bytes() + model->bytes() + committee.bytes(); }
