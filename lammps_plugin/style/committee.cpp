// SPDX-License-Identifier: GPL-2.0-only
#include "committee.h"

#include "backends/refusal.h"

#include "atom.h"
#include "comm.h"
#include "pair.h"

#include <algorithm>
#include <cmath>
#include <sstream>

using namespace LAMMPS_NS;

static std::string joined(const std::vector<std::string> &words) {
  std::string all;
  for (const auto &word : words) all += (all.empty() ? "" : " ") + word;
  return all.empty() ? "none" : all;
}

// All models get the same pairs, species by species, and their forces have to mean the same.
static void compare(const Model &model, const Model &first) {
  const auto same = [&](const char *what, const auto &found, const auto &wanted) {
    if (found == wanted) return;
    std::ostringstream got, of_first;
    got << model.file << " with " << what << " " << found;
    of_first << wanted << ", as " << first.file;
    tlmd::refuse(got.str(), of_first.str(), "train a committee on the same frames with other seeds");
  };
  same("elements", joined(model.card().elements), joined(first.card().elements));
  same("cutoff", model.card().cutoff, first.card().cutoff);
  same("first_cutoff", model.card().reach, first.card().reach);
  same("message layers of a backbone in one piece", model.script->hops, first.script->hops);
  same("baseline", joined(model.card().baseline), joined(first.card().baseline));
}

void Committee::take(std::vector<std::unique_ptr<Model>> models, const Model &first) {
  for (const auto &model : models) compare(*model, first);
  others = std::move(models);
}

double Committee::bytes() const {
  double sum = (double) off.capacity() * sizeof(double);
  for (const auto &model : others) sum += model->bytes();
  return sum;
}

int Committee::pack(int n, int first, double *buf) const {
  std::copy_n(off.data() + 3 * (size_t) first, 3 * (size_t) n, buf);
  return 3 * n;
}

void Committee::unpack(int n, const int *list, const double *buf) {
  for (int k = 0; k < n; k++)
    for (int d = 0; d < 3; d++) off[3 * (size_t) list[k] + d] += *buf++;
}

// The sums of d = F^k - F^1 and of its square give sigma, the first model's d being zero.
std::vector<double> Committee::deviations(Pair *pair, Rows &rows, const tlmd::engine::Result &first) {
  const auto &pairs = rows.pairs;
  const size_t n = pairs.n_owned;
  const bool exchanged = comm->nprocs > 1;  // on one rank the rows of images are those of its own atoms
  std::vector<double> sum(3 * n), squares(n);
  for (const auto &model : others) {
    model->evaluator().evaluate(pairs, rows.halo, result, comm->nthreads);
    off.assign(3 * ((size_t) atom->nlocal + (exchanged ? atom->nghost : 0)), 0.0);
    for (size_t c = 0; c < pairs.directed.size(); c++)
      for (int p = pairs.first[c]; p < pairs.first[c + 1]; p++) {
        double *here = &off[3 * (size_t) rows.atom_of[c]], *there = &off[3 * (size_t) rows.atom_of[pairs.neighbour[p]]];
        for (int d = 0; d < 3; d++) {
          const double slope = result.slopes[3 * (size_t) p + d] - first.slopes[3 * (size_t) p + d];
          here[d] += slope;
          there[d] -= slope;
        }
      }
    if (exchanged) comm->reverse_comm(pair);
    for (size_t c = 0; c < n; c++)
      for (int d = 0; d < 3; d++) {
        const double value = off[3 * (size_t) rows.atom_of[c] + d];
        sum[3 * c + d] += value;
        squares[c] += value * value;
      }
  }
  const double members = others.size() + 1.0;
  for (size_t c = 0; c < n; c++) {
    const double *s = &sum[3 * c], variance = squares[c] - (s[0] * s[0] + s[1] * s[1] + s[2] * s[2]) / members;
    squares[c] = std::sqrt(variance < 0 ? 0.0 : variance / (members - 1));  // what is not finite stays so
  }
  return squares;
}
