/* ----------------------------------------------------------------------
   tlmd: transfer-learned potentials for LAMMPS. GPL-2.0-only, see lammps_plugin/LICENSE.
------------------------------------------------------------------------- */
#include "pair_tpainn.h"

#include "halo.h"
#include "model.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

using namespace LAMMPS_NS;
using tlmd::Owner;

static constexpr double EV_PER_KCAL_MOL = 0.0433641153087705;  // as tlmd.units

struct PairTPaiNN::Data {
  std::string device = "auto";
  bool check = true;
  std::unique_ptr<tlmd::Model> model;
  tlmd::Halo halo;
  tlmd::Domain domain;
  tlmd::Result result;
  double unit_energy = 1.0;    // LAMMPS energy unit per eV
  std::vector<int> centres;    // local index of each owned row
  std::vector<int> row;        // row of each local and ghost atom, -1 if not ours
  std::vector<Owner> owner;    // of each local and ghost atom
  std::vector<int> slot_atom;  // (N, K) local index of the neighbour in each slot, -1 if unused
  bool planned = false;

  explicit Data(MPI_Comm world) : halo(world) {}
};

PairTPaiNN::PairTPaiNN(LAMMPS *lmp) : Pair(lmp), data(std::make_unique<Data>(world)) {
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
}

void PairTPaiNN::allocate() {
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

void PairTPaiNN::settings(int narg, char **arg) {
  auto choose = [&](int i, std::initializer_list<const char *> values) {
    const std::string keyword = arg[i], value = i + 1 < narg ? arg[i + 1] : "nothing";
    std::string wanted;
    for (const char *v : values) {
      if (value == v) return value;
      wanted += (wanted.empty() ? "" : ", ") + std::string(v);
    }
    error->all(FLERR, "pair_style tpainn {}: got {}; wanted one of {}; correct the input line", keyword, value, wanted);
    return value;
  };
  for (int i = 0; i < narg; i += 2) {
    if (strcmp(arg[i], "backend") == 0) {
      if (choose(i, {"torchscript", "native"}) == "native")
        error->all(FLERR, "pair_style tpainn: got backend native; wanted torchscript, the one that this version has; "
                          "leave the keyword out");
    } else if (strcmp(arg[i], "device") == 0) {
      data->device = choose(i, {"cpu", "cuda", "auto"});
    } else if (strcmp(arg[i], "check") == 0) {
      data->check = choose(i, {"yes", "no"}) == "yes";
    } else {
      error->all(FLERR, "pair_style tpainn: got keyword {}; wanted backend, device or check; correct the input line",
                 arg[i]);
    }
  }
}

// Rank 0 reads, all ranks get the bytes.
void PairTPaiNN::load(const char *file) {
  std::string bytes;
  if (comm->me == 0) {
    std::ifstream stream(file, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(stream), {});
  }
  bigint size = (bigint) bytes.size();
  MPI_Bcast(&size, 1, MPI_LMP_BIGINT, 0, world);
  if (size == 0)
    error->all(FLERR, "pair_style tpainn: got {}, missing or empty; wanted a file written by tl-export; check the path",
               file);
  bytes.resize(size);
  for (bigint first = 0; first < size; first += 1 << 30)
    MPI_Bcast(&bytes[first], (int) std::min<bigint>(size - first, 1 << 30), MPI_CHAR, 0, world);
  try {
    data->model = std::make_unique<tlmd::Model>(bytes, file, data->device, comm->me);
    if (data->check) data->model->self_test();
  } catch (const std::exception &e) {
    error->all(FLERR, "pair_style tpainn: {}", e.what());
  }
  if (comm->me == 0) utils::logmesg(lmp, "pair_style tpainn: {}\n", data->model->summary);
}

void PairTPaiNN::coeff(int narg, char **arg) {
  if (!allocated) allocate();
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    error->all(FLERR,
               "pair_coeff for tpainn: got {} arguments; wanted `* * FILE` and an element for each type; "
               "correct the input line",
               narg);
  if (narg - 3 != atom->ntypes)
    error->all(FLERR,
               "pair_coeff for tpainn: got {} elements; wanted {}, one for each atom type (NULL for types of "
               "another style); correct the input line",
               narg - 3, atom->ntypes);
  load(arg[2]);

  const auto &known = data->model->elements;
  for (int type = 1; type <= atom->ntypes; type++) {
    const std::string name = arg[2 + type];
    const auto found = std::find(known.begin(), known.end(), name);
    map[type] = found == known.end() ? -1 : (int) (found - known.begin());
    if (name == "NULL" && !utils::strmatch(force->pair_style, "^hybrid"))
      error->all(FLERR,
                 "pair_coeff for tpainn: got NULL for type {}; wanted an element for every type; name it, or use "
                 "pair_style hybrid with another style for this type",
                 type);
    if (map[type] >= 0 || name == "NULL") continue;
    std::string list;
    for (const auto &element : known) list += " " + element;
    error->all(FLERR,
               "pair_coeff for tpainn: got element {}; wanted one that the model knows:{}; use a model trained "
               "on it, or NULL",
               name, list);
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
    error->all(FLERR, "pair_style tpainn: got units {}; wanted metal or real; change the units command",
               update->unit_style);
  if (!force->newton_pair)
    error->all(FLERR, "pair_style tpainn: got newton off; wanted newton on for pairs; remove the newton command");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k < 4; k++)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        error->all(FLERR, "pair_style tpainn: got special_bonds that remove bonded pairs; wanted all pairs; use an "
                          "atomic atom_style or `special_bonds lj/coul 1 1 1`");
  neighbor->add_request(this, NeighConst::REQ_FULL);
  data->planned = false;
}

double PairTPaiNN::init_one(int, int) { return data->model->cutoff; }

int PairTPaiNN::pack_forward_comm(int n, int *list, double *buf, int, int *) {
  int m = 0;
  for (int k = 0; k < n; k++) {
    const Owner &o = data->owner[list[k]];
    buf[m++] = o.first;
    buf[m++] = o.second;
  }
  return m;
}

void PairTPaiNN::unpack_forward_comm(int n, int first, double *buf) {
  for (int k = 0; k < n; k++) data->owner[first + k] = {(int) buf[2 * k], (int) buf[2 * k + 1]};
}

void PairTPaiNN::find_owners() {
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost, *type = atom->type;
  if (comm->get_comm_cutoff() < data->model->cutoff)
    error->all(FLERR,
               "pair_style tpainn: got ghosts up to {} A; wanted {} A, the model's cutoff; use comm_modify cutoff",
               comm->get_comm_cutoff(), data->model->cutoff);

  data->centres.clear();
  data->row.assign(nall, -1);
  data->owner.assign(nall, {comm->me, -1});
  for (int i = 0; i < nlocal; i++) {
    if (map[type[i]] < 0) continue;
    data->row[i] = data->owner[i].second = (int) data->centres.size();
    data->centres.push_back(i);
  }
  comm->forward_comm(this);  // owner of every ghost

  std::vector<Owner> needed;  // atoms of other ranks that our neighbour list names
  std::vector<char> named(nall, 0);
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], *neighbours = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; jj++) named[neighbours[jj] & NEIGHMASK] = 1;
  }
  for (int j = nlocal; j < nall; j++)
    if (named[j] && data->owner[j].first != comm->me) needed.push_back(data->owner[j]);
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());

  const int n = (int) data->centres.size();
  for (int j = nlocal; j < nall; j++) {
    if (!named[j]) continue;
    const Owner &o = data->owner[j];
    const auto place = std::lower_bound(needed.begin(), needed.end(), o) - needed.begin();
    data->row[j] = o.first == comm->me ? o.second : n + (int) place;  // an image of our own atom is that atom
  }
  data->halo.plan(needed);

  auto &species = data->domain.species;
  species.assign(n + needed.size(), 0);
  for (int i = 0; i < nall; i++)
    if (data->row[i] >= 0) species[data->row[i]] = map[type[i]];
  data->domain.n_owned = n;
  data->domain.n_rows = (int) species.size();
  data->planned = true;
}

void PairTPaiNN::gather() {
  const double cutoff = data->model->cutoff, cutoff2 = cutoff * cutoff;
  double **x = atom->x;
  auto within = [&](int i, int j, double *r) {
    for (int d = 0; d < 3; d++) r[d] = x[j][d] - x[i][d];
    return r[0] * r[0] + r[1] * r[1] + r[2] * r[2] < cutoff2;
  };

  double r[3];
  int k = 1;
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], *neighbours = list->firstneigh[i];
    int count = 0;
    for (int jj = 0; jj < list->numneigh[i]; jj++) count += within(i, neighbours[jj] & NEIGHMASK, r);
    k = std::max(k, count);
  }

  tlmd::Domain &domain = data->domain;
  const size_t slots = (size_t) domain.n_owned * k;
  domain.n_slots = k;
  domain.neighbours.resize(slots);
  domain.vectors.assign(3 * slots, 0.0);
  data->slot_atom.assign(slots, -1);
  for (size_t s = 0; s < slots; s++) {
    domain.neighbours[s] = (int) (s / k);
    domain.vectors[3 * s + 2] = 2.0 * cutoff;  // an unused slot lies beyond the cutoff
  }
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii], *neighbours = list->firstneigh[i];
    size_t s = (size_t) data->row[i] * k;
    for (int jj = 0; jj < list->numneigh[i]; jj++) {
      const int j = neighbours[jj] & NEIGHMASK;
      if (!within(i, j, r)) continue;
      domain.neighbours[s] = data->row[j];
      data->slot_atom[s] = j;
      std::copy_n(r, 3, &domain.vectors[3 * s]);
      s++;
    }
  }
}

void PairTPaiNN::scatter() {
  const int n = data->domain.n_owned, k = data->domain.n_slots;
  double **f = atom->f;
  for (int c = 0; c < n; c++) {
    const int i = data->centres[c];
    const double energy = data->result.energies[c] * data->unit_energy;
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[i] += energy;
    for (size_t s = (size_t) c * k; s < (size_t) (c + 1) * k; s++) {
      const int j = data->slot_atom[s];
      if (j < 0) break;
      const double *r = &data->domain.vectors[3 * s];
      double g[3];  // dE/dr_ij
      for (int d = 0; d < 3; d++) {
        g[d] = data->result.slopes[3 * s + d] * data->unit_energy;
        f[i][d] += g[d];
        f[j][d] -= g[d];
      }
      if (!vflag_either) continue;
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

void PairTPaiNN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (neighbor->ago == 0 || !data->planned) find_owners();
  gather();
  try {
    data->model->evaluate(data->domain, data->halo, data->result, comm->nthreads);
  } catch (const std::exception &e) {
    const std::string text = e.what();
    error->one(FLERR, "pair_style tpainn: {}", text.substr(0, text.find('\n')));
  }
  scatter();
}

double PairTPaiNN::memory_usage() {
  const double slots = (double) data->domain.n_owned * data->domain.n_slots;
  return Pair::memory_usage() + slots * (2 * sizeof(int) + 6 * sizeof(double));
}

extern "C" __attribute__((visibility("default"))) void *tlmd_create_tpainn(LAMMPS *lmp) { return new PairTPaiNN(lmp); }
extern "C" __attribute__((visibility("default"))) const char *tlmd_torch_found() {
  static const std::string version = tlmd::Model::torch_version();
  return version.c_str();
}
