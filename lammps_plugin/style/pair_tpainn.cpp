// SPDX-License-Identifier: GPL-2.0-only
#include "pair_tpainn.h"

#include "backends/file.h"
#include "backends/native.h"
#include "backends/torchscript.h"
#include "rows.h"
#include "watch.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

using namespace LAMMPS_NS;

static constexpr double EV_PER_KCAL_MOL = 0.0433641153087705;  // as tlmd.units
static constexpr int CHECKED = 1000;  // atoms of a rank that the first step's check takes at most

struct PairTPaiNN::Data {
  const std::string style;
  std::string backend, device = "auto";  // backend empty: native where there is no GPU
  bool check = true;
  std::unique_ptr<tlmd::Model> model;
  std::unique_ptr<tlmd::Native> native;  // null: the scripted model evaluates
  std::vector<double> references;        // eV, of each species
  Rows rows;
  tlmd::engine::Result result;
  double unit_energy = 1.0;  // LAMMPS energy unit per eV
  bool planned = false, first_step = true;

  std::vector<int> counts;  // atoms of each species in the whole system
  Watch watch;
  std::vector<double> deviations;     // of each atom's energy (nlocal,), zero for types of another style
  std::vector<std::string> elements;  // of each type
  int asked = 0;                      // by fix pair

  Data(LAMMPS *lmp, const std::string &style) : style(style), rows(lmp), watch(lmp) {}
  tlmd::Evaluator &evaluator() {
    if (native) return *native;
    return *model;
  }
};

PairTPaiNN::PairTPaiNN(LAMMPS *lmp, const std::string &style) : Pair(lmp), data(std::make_unique<Data>(lmp, style)) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  comm_forward = 2;
  if (style != "mekrr") return;
  nextra = 2;  // compute pair: the largest deviation of an atom's energy, that of the whole energy
  pvector = new double[nextra]();
}

PairTPaiNN::~PairTPaiNN() {
  delete[] pvector;
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(cutghost);
}

// `text`: got; wanted; do.
void PairTPaiNN::refuse(const std::string &text, const char *command) {
  error->all(FLERR, "{} {}: {}", command, data->style, text);
}

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
  auto choose = [&](int i, std::initializer_list<const char *> values) {
    const std::string keyword = arg[i], value = i + 1 < narg ? arg[i + 1] : "nothing";
    std::string wanted;
    for (const char *v : values) {
      if (value == v) return value;
      wanted += (wanted.empty() ? "" : ", ") + std::string(v);
    }
    error->all(FLERR, "pair_style {} {}: got {}; wanted one of {}; correct the input line", data->style, keyword, value,
               wanted);
    return value;
  };
  for (int i = 0, taken = 2; i < narg; i += taken, taken = 2) {
    if (strcmp(arg[i], "backend") == 0) {
      data->backend = choose(i, {"native", "torchscript"});
    } else if (strcmp(arg[i], "device") == 0) {
      data->device = choose(i, {"cpu", "cuda", "auto"});
    } else if (strcmp(arg[i], "check") == 0) {
      data->check = choose(i, {"yes", "no"}) == "yes";
    } else if (data->style != "mekrr" || !(taken = data->watch.keyword(i, narg, arg))) {
      refuse(fmt::format("got keyword {}; wanted backend, device or check; correct the input line", arg[i]));
    }
  }
  if (data->backend == "native" && data->device == "cuda")
    refuse("got backend native on device cuda; wanted device cpu or auto; or use backend torchscript");
}

void PairTPaiNN::load(const char *file) {
  const std::string bytes = tlmd::read_everywhere(file, world);
  if (bytes.empty())
    refuse(fmt::format("got {}, missing or empty; wanted a file written by tl-export; check the path", file));
  const std::string device = data->backend == "native" ? "cpu" : data->device;
  std::string summary;
  try {
    data->model = std::make_unique<tlmd::Model>(bytes, file, data->style, device, comm->me);
    if (data->check) data->model->self_test();
    summary = data->model->summary;
    if (data->watch.on() && !data->model->deviates)
      throw std::runtime_error("got a model without deviations; wanted one by fit.deviation; leave out halt and dump");
    data->native.reset();
    data->counts.clear();
    data->first_step = true;
    if (data->model->hops && data->backend == "native")
      throw std::runtime_error(
          "got backend native and a backbone that is TorchScript; wanted PaiNN; leave out backend");
    if (data->backend != "torchscript" && !data->model->on_gpu && !data->model->hops) summary += start_native();
  } catch (const std::exception &e) {
    refuse(e.what());
  }
  if (comm->me == 0) utils::logmesg(lmp, "pair_style {}: {}\n", data->style, summary);
}

// Returns what the log says of it. Rank 0 chooses the table, so that all ranks have the same.
std::string PairTPaiNN::start_native() {
  const auto weights = data->model->weights();
  data->references = weights.reference;
  tlmd::engine::TableChoice table{0, 0.0};
  if (comm->me == 0)
    table = tlmd::engine::choose_bins(weights, data->model->test_cluster(),
                                      tlmd::engine::table_tolerance(data->model->float64));
  MPI_Bcast(&table.n_bins, 1, MPI_INT, 0, world);
  data->native = tlmd::native(weights, data->model->float64, table.n_bins);
  return fmt::format(", native engine on {} ({} bins, table error {:.1e} of the rms force)", data->native->isa(),
                     table.n_bins, table.error);
}

void PairTPaiNN::coeff(int narg, char **arg) {
  if (!allocated) allocate();
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    refuse(
        fmt::format("got {} arguments; wanted `* * FILE` and an element for each type; correct the input line", narg),
        "pair_coeff for");
  if (narg - 3 != atom->ntypes)
    refuse(fmt::format("got {} elements; wanted {}, one for each atom type (NULL for types of another style); correct "
                       "the input line",
                       narg - 3, atom->ntypes),
           "pair_coeff for");
  load(arg[2]);
  data->elements.assign(arg + 2, arg + narg);  // by type, from 1

  const auto &known = data->model->elements;
  for (int type = 1; type <= atom->ntypes; type++) {
    const std::string name = arg[2 + type];
    const auto found = std::find(known.begin(), known.end(), name);
    map[type] = found == known.end() ? -1 : (int) (found - known.begin());
    if (name == "NULL" && !utils::strmatch(force->pair_style, "^hybrid"))
      refuse(fmt::format("got NULL for type {}; wanted an element for every type; name it, or use pair_style hybrid "
                         "with another style for this type",
                         type),
             "pair_coeff for");
    if (map[type] >= 0 || name == "NULL") continue;
    std::string list;
    for (const auto &element : known) list += " " + element;
    refuse(fmt::format("got element {}; wanted one that the model knows:{}; use a model trained on it, or NULL", name,
                       list),
           "pair_coeff for");
  }
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = map[i] >= 0 && map[j] >= 0;
}

void PairTPaiNN::init_style() {
  if (strcmp(update->unit_style, "metal") == 0)
    data->unit_energy = 1.0;
  else if (strcmp(update->unit_style, "real") == 0)
    data->unit_energy = 1.0 / EV_PER_KCAL_MOL;
  else
    refuse(fmt::format("got units {}; wanted metal or real; change the units command", update->unit_style));
  if (!force->newton_pair) refuse("got newton off; wanted newton on for pairs; remove the newton command");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k < 4; k++)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        refuse("got special_bonds that remove bonded pairs; wanted all pairs; use an atomic atom_style or "
               "`special_bonds lj/coul 1 1 1`");
  ghostneigh = range() > data->model->cutoff;
  neighbor->add_request(this, NeighConst::REQ_FULL | (ghostneigh ? NeighConst::REQ_GHOST : 0));
  if (ghostneigh) widen_ghosts();
  data->planned = false;
}

// How far ghosts are wanted, A. One rank has every atom itself, and exchanged features bring what is farther.
double PairTPaiNN::range() const {
  return data->model->cutoff * (comm->nprocs > 1 ? std::max(data->model->hops, 1) : 1);
}

void PairTPaiNN::widen_ghosts() {
  if (comm->mode != Comm::SINGLE || (neighbor->style != Neighbor::BIN && neighbor->style != Neighbor::NSQ))
    refuse("got neighbor style or comm mode multi; wanted bin and single, for neighbours of ghosts; correct the input");
  if (comm->cutghostuser >= range() + neighbor->skin) return;
  comm->cutghostuser = range() + neighbor->skin;
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: ghosts out to {} A, the range of the backbone ({} times its cutoff)\n",
                   data->style, range(), data->model->hops);
}

double PairTPaiNN::init_one(int i, int j) { return cutghost[i][j] = cutghost[j][i] = data->model->cutoff; }

int PairTPaiNN::pack_forward_comm(int n, int *list, double *buf, int, int *) {
  data->rows.pack(n, list, buf);
  return 2 * n;
}

void PairTPaiNN::unpack_forward_comm(int n, int first, double *buf) { data->rows.unpack(n, first, buf); }

// Energies and slopes -> f, energy, virial, per-atom energy and virial
void PairTPaiNN::scatter() {
  const auto &pairs = data->rows.pairs;
  const int *atom_of = data->rows.atom_of.data();
  const double unit = data->unit_energy;
  double **f = atom->f;
  for (int c = 0; c < pairs.n_owned; c++) {
    const double energy = data->result.energies[c] * unit;
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[atom_of[c]] += energy;
  }
  for (int c = 0; c < (int) pairs.directed.size(); c++) {
    const int i = atom_of[c];
    for (int p = pairs.first[c]; p < pairs.first[c + 1]; p++) {
      const int j = atom_of[pairs.neighbour[p]];
      const double *slope = &data->result.slopes[3 * (size_t) p];
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

// What the run will need beyond LAMMPS itself, before it is asked for.
void PairTPaiNN::say_memory() {
  const auto &pairs = data->rows.pairs;
  const double n = std::max(pairs.n_owned, 1);
  double mib = data->native->memory_per_atom(pairs.neighbour.size() / n, pairs.n_rows / n) * pairs.n_owned;
  mib = (mib + data->native->memory() + data->rows.bytes()) / (1 << 20);
  double total, largest;
  MPI_Reduce(&mib, &total, 1, MPI_DOUBLE, MPI_SUM, 0, world);
  MPI_Reduce(&mib, &largest, 1, MPI_DOUBLE, MPI_MAX, 0, world);
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: needs about {:.3g} MiB, {:.3g} MiB on the largest of {} ranks\n", data->style,
                   total, largest, comm->nprocs);
}

// The native engine against the scripted model on this configuration, or on a part of it where that is large.
void PairTPaiNN::check_native() {
  const auto &pairs = data->rows.pairs;
  int n = pairs.n_owned, most;
  MPI_Allreduce(&n, &most, 1, MPI_INT, MPI_MAX, world);
  tlmd::Halo none(MPI_COMM_SELF);
  none.plan({});
  const bool part = most > CHECKED;
  const auto checked = part ? tlmd::cut_out(pairs, CHECKED) : pairs;
  tlmd::Halo &halo = part ? none : data->rows.halo;
  tlmd::engine::Result scripted, found;
  data->model->evaluate(checked, halo, scripted, comm->nthreads);
  data->native->evaluate(checked, halo, found, comm->nthreads);
  double off = tlmd::deviation(checked, data->references, scripted, found), largest;
  if (std::isnan(off)) off = HUGE_VAL;
  MPI_Allreduce(&off, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  const double tolerance = data->model->tolerance() + 10 * tlmd::engine::table_tolerance(data->model->float64);
  if (largest > tolerance)
    throw std::runtime_error(fmt::format("got native forces or energies off by {:.1e} from the scripted model; wanted "
                                         "at most {:.1e}; use backend torchscript and report this model",
                                         largest, tolerance));
  if (comm->me == 0)
    utils::logmesg(lmp, "pair_style {}: native and scripted agree to {:.1e} on the first step{}\n", data->style,
                   largest, part ? fmt::format(" ({} atoms of each rank)", CHECKED) : "");
}

// A kernel of means over atoms has the composition of the whole system in its weights.
void PairTPaiNN::compose(bool setup) {
  const auto &pairs = data->rows.pairs;
  std::vector<int> mine(data->model->elements.size()), counts(mine.size());
  for (int i = 0; i < pairs.n_owned; i++) mine[pairs.species[i]]++;
  MPI_Allreduce(mine.data(), counts.data(), (int) mine.size(), MPI_INT, MPI_SUM, world);
  if (counts == data->counts) return;
  if (!setup)
    refuse("got atoms added, deleted or lost in a run; wanted a fixed composition, on which this model's energy "
           "depends; fit with aggregation sum");
  const double total = std::accumulate(counts.begin(), counts.end(), 0);
  std::vector<double> ratio;
  for (int n : counts) ratio.push_back(total / std::max(n, 1));
  data->model->compose(ratio);
  if (data->native) data->native->set_head_weights(data->model->weights().head.weights);
  data->counts = counts;
}

bool PairTPaiNN::deviations_wanted(int eflag) const {
  return data->model->deviates &&
         (data->asked || data->watch.due() || (eflag && !modify->get_compute_by_style("^pair").empty()));
}

void PairTPaiNN::find_deviations() {
  std::vector<double> sums;
  const auto found = data->model->deviations(data->rows.pairs, data->evaluator(), sums);
  data->deviations.assign(atom->nlocal, 0.0);
  double largest = 0;
  for (size_t c = 0; c < found.size(); c++) {
    data->deviations[data->rows.atom_of[c]] = found[c] * data->unit_energy;
    largest = std::max(largest, found[c] * data->unit_energy);
  }
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), (int) sums.size(), MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  pvector[0] = comm->me == 0 ? largest : 0.0;  // compute pair adds up those of the ranks
  pvector[1] = comm->me == 0 ? data->model->deviation_of(sums) * data->unit_energy : 0.0;
  if (data->watch.due()) data->watch.look(data->deviations, largest, data->elements);
}

void *PairTPaiNN::extract(const char *name, int &dim) {
  dim = 0;
  return data->style == "mekrr" && strcmp(name, "deviation_flag") == 0 ? &data->asked : nullptr;
}

void *PairTPaiNN::extract_peratom(const char *name, int &n_columns) {
  n_columns = 0;
  if (data->style != "mekrr" || strcmp(name, "deviation") != 0) return nullptr;
  data->deviations.resize(std::max(atom->nlocal, 1));  // never null
  return data->deviations.data();
}

void PairTPaiNN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const bool moved = neighbor->ago == 0 || !data->planned;  // atoms between ranks
  if (moved) {
    if (comm->get_comm_cutoff() < range())
      refuse(fmt::format("got ghosts up to {} A; wanted {} A, the model's range; use comm_modify cutoff",
                         comm->get_comm_cutoff(), range()));
    data->rows.plan(this, list, map, data->model->cutoff, data->model->hops);
  }
  data->rows.gather();
  if (moved && data->model->by_composition) compose(!data->planned);
  data->planned = true;
  try {
    if (data->first_step && data->native) {
      say_memory();
      if (data->check) check_native();
    }
    data->first_step = false;
    data->evaluator().evaluate(data->rows.pairs, data->rows.halo, data->result, comm->nthreads);
    if (deviations_wanted(eflag)) find_deviations();
  } catch (const std::exception &e) {
    const std::string text = e.what();
    error->one(FLERR, "pair_style {}: {}", data->style, text.substr(0, text.find('\n')));
  }
  scatter();
}

double PairTPaiNN::memory_usage() {
  return Pair::memory_usage() + data->rows.bytes() + (data->native ? data->native->memory() : 0.0);
}
