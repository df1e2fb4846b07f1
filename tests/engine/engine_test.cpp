// The engine checked against itself, for the sanitizers: energies against forces, instruction sets and numbers of
// threads against each other, and a system cut into ranks with ghosts against the whole. (tests/test_engine.py compares
// with PyTorch.)
#include "engine/training.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>

using namespace tlmd::engine;

static void check(bool good, const char *what, double value) {
  if (good) return;
  std::fprintf(stderr, "FAILED: %s (%g)\n", what, value);
  std::exit(1);
}

// first_cutoff: of layer 1; of the others 3 A
static Weights random_weights(int n_species, int width, int n_layers, double first_cutoff) {
  std::mt19937 random(n_species * 1000 + width + n_layers);
  auto basis_to = [](double cutoff) {
    Basis basis;
    basis.cutoff = cutoff;
    for (int k = 1; k <= 7; k++) basis.centres.push_back(k * 3.14159265358979 / cutoff);
    return basis;
  };
  auto get = [&](const std::string &name) {
    const int f = width;
    if (name == "repulsion.strength") return std::vector<double>{2.0};
    if (name == "repulsion.radius") return std::vector<double>((size_t) n_species * n_species, 1.5);
    size_t n = 0;
    auto ends = [&](const char *end) {
      return name.size() >= std::string(end).size() &&
             name.compare(name.size() - std::string(end).size(), std::string::npos, end) == 0;
    };
    const bool update = name.find("updates") != std::string::npos;
    if (name == "scale" || name == "reference")
      n = n_species;
    else if (name == "net.embedding.weight")
      n = (size_t) n_species * f;
    else if (name == "net.energy.0.weight")
      n = f / 2 * f;
    else if (name == "net.energy.0.bias" || name == "net.energy.2.weight")
      n = f / 2;
    else if (name == "net.energy.2.bias")
      n = 1;
    else if (ends("filter.weight"))
      n = 3 * f * 7;
    else if (ends("mix.weight"))
      n = 2 * f * f;
    else if (ends("context.0.weight"))
      n = (update ? 2 : 1) * f * f;
    else if (ends("context.2.weight"))
      n = 3 * f * f;
    else if (ends("context.0.bias"))
      n = f;
    else
      n = 3 * f;  // filter.bias, context.2.bias
    const bool matrix = ends("weight") && name != "net.embedding.weight";
    std::normal_distribution<double> normal(0.0, matrix ? 0.5 / std::sqrt((double) width) : 0.3);
    std::vector<double> values(n);
    for (double &v : values) v = normal(random);
    return values;
  };
  return read_weights(n_species, width, n_layers, 0.1, basis_to(3.0), basis_to(first_cutoff), {}, get);
}

struct System {
  std::vector<double> x;     // (n, 3)
  std::vector<int> species;  // (n,)
  double side = 0;           // of a periodic cube, 0: none
  int size() const { return (int) species.size(); }
};

static System random_system(int n, int n_species, double side) {
  std::mt19937 random(n + n_species);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  System s;
  s.side = side;
  const double extent = side > 0 ? side : 1.4 * std::cbrt((double) n);
  while (s.size() < n) {
    double r[3], nearest = 1e9;
    for (double &c : r) c = extent * uniform(random);
    for (int j = 0; j < s.size(); j++) {
      double d2 = 0;
      for (int k = 0; k < 3; k++) {
        double d = r[k] - s.x[3 * j + k];
        if (side > 0) d -= side * std::round(d / side);
        d2 += d * d;
      }
      nearest = std::min(nearest, d2);
    }
    if (nearest < 0.49) continue;
    s.x.insert(s.x.end(), r, r + 3);
    s.species.push_back((int) (uniform(random) * n_species));
  }
  return s;
}

// All images j of every centre i in `owned` within the cutoff: shared pairs where both are owned.
static Pairs pairs_of(const System &s, const std::vector<int> &rows, int n_owned, double cutoff) {
  Pairs pairs;
  pairs.n_owned = n_owned, pairs.n_rows = (int) rows.size();
  pairs.first.push_back(0);
  for (int atom : rows) pairs.species.push_back(s.species[atom]);
  const int reach = s.side > 0 ? (int) std::ceil(cutoff / s.side) : 0;
  for (int i = 0; i < n_owned; i++) {
    for (const bool shared : {true, false}) {
      for (int j = 0; j < pairs.n_rows; j++) {
        if ((j < n_owned && j > i) != shared || (j < i && j < n_owned)) continue;
        for (int a = -reach; a <= reach; a++)
          for (int b = -reach; b <= reach; b++)
            for (int c = -reach; c <= reach; c++) {
              const double image[3] = {a * s.side, b * s.side, c * s.side};
              double r[3], d2 = 0;
              for (int k = 0; k < 3; k++) {
                r[k] = s.x[3 * rows[j] + k] + image[k] - s.x[3 * rows[i] + k];
                d2 += r[k] * r[k];
              }
              if (d2 >= cutoff * cutoff || d2 == 0) continue;
              pairs.neighbour.push_back(j);
              pairs.vectors.insert(pairs.vectors.end(), r, r + 3);
            }
      }
      if (shared) pairs.directed.push_back((int) pairs.neighbour.size());
    }
    pairs.first.push_back((int) pairs.neighbour.size());
  }
  return pairs;
}

static std::vector<int> all_of(const System &s) {
  std::vector<int> rows;
  for (int i = 0; i < s.size(); i++) rows.push_back(i);
  return rows;
}

// Adds the forces that `pairs` exert on the atoms `rows` to `forces`.
static void add_forces(const Pairs &pairs, const std::vector<int> &rows, const Result &result,
                       std::vector<double> &forces) {
  for (int i = 0; i < pairs.n_owned; i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++)
      for (int k = 0; k < 3; k++) {
        forces[3 * rows[i] + k] += result.slopes[3 * (size_t) p + k];
        forces[3 * rows[pairs.neighbour[p]] + k] -= result.slopes[3 * (size_t) p + k];
      }
}

struct Answer {
  double energy = 0;
  std::vector<double> forces;
};

template <class real> static Answer whole(const Weights &w, const Options &options, const System &s) {
  const Pairs pairs = pairs_of(s, all_of(s), s.size(), w.first_basis.cutoff);
  Result result;
  PaiNN<real>(w, options).evaluate(pairs, result);
  Answer answer;
  answer.forces.assign(s.x.size(), 0.0);
  for (double e : result.energies) answer.energy += e;
  add_forces(pairs, all_of(s), result, answer.forces);
  return answer;
}

// The same on `n_ranks` ranks: each owns a run of the atoms, all others are its ghosts; rows are copied by hand.
template <class real> static Answer in_ranks(const Weights &w, const Options &options, const System &s, int n_ranks) {
  const int n = s.size();
  std::vector<std::unique_ptr<PaiNN<real>>> engines;
  std::vector<std::vector<int>> rows(n_ranks);
  std::vector<Pairs> pairs;
  std::vector<int> rank_of(n), row_of(n);
  for (int r = 0; r < n_ranks; r++) {
    for (int i = n * r / n_ranks; i < n * (r + 1) / n_ranks; i++) {
      rank_of[i] = r, row_of[i] = (int) rows[r].size();
      rows[r].push_back(i);
    }
    const int n_owned = (int) rows[r].size();
    for (int i = 0; i < n; i++)
      if (rank_of[i] != r || i < n * r / n_ranks || i >= n * (r + 1) / n_ranks) rows[r].push_back(i);
    pairs.push_back(pairs_of(s, rows[r], n_owned, w.first_basis.cutoff));
    engines.push_back(std::make_unique<PaiNN<real>>(w, options));
  }
  auto exchange = [&](bool back, int layer) {
    const int width = engines[0]->row_width();
    for (int r = 0; r < n_ranks; r++)
      for (int g = pairs[r].n_owned; g < pairs[r].n_rows; g++)
        for (int b = 0; b < engines[r]->n_blocks(); b++) {
          const int atom = rows[r][g];
          auto row = [&](int rank, int k) {
            PaiNN<real> &e = *engines[rank];
            return (back ? e.adjoints() : e.inputs(layer)) + b * e.block_stride() + (size_t) k * width;
          };
          real *ghost = row(r, g), *own = row(rank_of[atom], row_of[atom]);
          for (int k = 0; k < width; k++)
            if (back)
              own[k] += ghost[k];
            else
              ghost[k] = own[k];
        }
  };
  for (int r = 0; r < n_ranks; r++) engines[r]->begin(pairs[r]);
  for (int l = 1; l < w.n_layers; l++) {
    exchange(false, l);
    for (auto &e : engines) e->forward(l);
  }
  for (int l = w.n_layers - 1; l > 0; l--) {
    for (auto &e : engines) e->backward(l);
    exchange(true, l);
  }
  Answer answer;
  answer.forces.assign(s.x.size(), 0.0);
  for (int r = 0; r < n_ranks; r++) {
    Result result;
    engines[r]->finish(result);
    for (double e : result.energies) answer.energy += e;
    add_forces(pairs[r], rows[r], result, answer.forces);
  }
  return answer;
}

static double largest(const Answer &a) {
  double m = 1e-3;
  for (double f : a.forces) m = std::max(m, std::fabs(f));
  return m;
}

static void same(const Answer &a, const Answer &b, double tolerance, const char *what) {
  double off = std::fabs(a.energy - b.energy) / std::max(std::fabs(a.energy), 1.0);
  const double scale = largest(a);
  for (size_t k = 0; k < a.forces.size(); k++) off = std::max(off, std::fabs(a.forces[k] - b.forces[k]) / scale);
  check(off <= tolerance, what, off);
}

// The gradients of all parameters, one after the other, for a loss with random slopes.
template <class real> static Answer gradients(const Weights &w, const Options &options, const System &s) {
  const Pairs pairs = pairs_of(s, all_of(s), s.size(), w.first_basis.cutoff);
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> seeds(s.size()), changes(pairs.vectors.size());
  for (double &v : seeds) v = normal(random);
  for (double &v : changes) v = normal(random);
  Answer answer;
  Training<real> training(w, options);
  for (int repeat = 0; repeat < 2; repeat++) {
    answer.forces.clear();
    training.set_weights(w);
    Result result;
    training.evaluate(pairs, result);
    training.gradients(
        seeds.data(), changes.data(), [](const std::string &) { return true; },
        [&](const std::string &, const std::vector<real> &g) {
          answer.forces.insert(answer.forces.end(), g.begin(), g.end());
        });
  }
  return answer;
}

// W_j = sum_k (r_k - r_j) dE_k/dr_j of all atoms, (n, 3, 3), as forces.
template <class real> static Answer flux(const Weights &w, const Options &options, const System &s) {
  const Pairs pairs = directed(pairs_of(s, all_of(s), s.size(), w.first_basis.cutoff));
  PaiNN<real> engine(w, options);
  engine.want_flux(true);
  Result result;
  engine.evaluate(pairs, result);
  Answer answer;
  answer.forces.assign(9 * (size_t) s.size(), 0.0);
  for (int i = 0; i < s.size(); i++)
    for (int p = pairs.first[i]; p < pairs.first[i + 1]; p++)
      for (int k = 0; k < 9; k++) {
        const double moment = result.flux[9 * (size_t) p + k];
        answer.forces[9 * (size_t) i + k] -= moment;
        answer.forces[9 * (size_t) pairs.neighbour[p] + k] +=
            moment - pairs.vectors[3 * (size_t) p + k / 3] * result.slopes[3 * (size_t) p + k % 3];
      }
  return answer;
}

// The same of a free system, by differences of the energies of atoms: row a of atom j, component b.
static void check_flux(const Weights &w, const Options &options, const System &s, const Answer &found) {
  const double h = 1e-5;
  for (size_t k = 0; k < s.x.size(); k += 7) {
    std::vector<double> energies[2];
    for (const int up : {0, 1}) {
      System moved = s;
      moved.x[k] += up ? h : -h;
      Result result;
      PaiNN<double>(w, options).evaluate(pairs_of(moved, all_of(s), s.size(), w.first_basis.cutoff), result);
      energies[up] = result.energies;
    }
    for (size_t a = 0; a < 3; a++) {
      double moment = 0;
      for (int i = 0; i < s.size(); i++)
        moment += (s.x[3 * i + a] - s.x[k / 3 * 3 + a]) * (energies[1][i] - energies[0][i]) / (2 * h);
      const double off = found.forces[9 * (k / 3) + 3 * a + k % 3] - moment;
      check(std::fabs(off) < 1e-6 * largest(found), "flux against energies", off);
    }
  }
}

static void one_case(const Weights &w, const System &s) {
  Options options;
  options.isa = "portable";
  options.n_bins = 64;
  const Answer truth = whole<double>(w, options, s);

  const double h = 1e-5;
  for (size_t k = 0; k < s.x.size(); k += 7) {
    System moved = s;
    moved.x[k] += h;
    const double up = whole<double>(w, options, moved).energy;
    moved.x[k] -= 2 * h;
    const double slope = (up - whole<double>(w, options, moved).energy) / (2 * h);
    check(std::fabs(truth.forces[k] + slope) < 1e-6 * largest(truth), "force against energy", truth.forces[k] + slope);
  }
  const bool train = w.n_species == 2 && (w.width == 6 || s.size() == 30);  // the sanitizers make it slow
  const Answer slopes = train ? gradients<double>(w, options, s) : Answer();
  const Answer moments = train ? flux<double>(w, options, s) : Answer();
  if (train && s.side == 0) check_flux(w, options, s, moments);
  for (const std::string &isa : available_isas())
    for (const int threads : {1, 3})
      for (const int moment_species : {0, 8}) {
        options.isa = isa, options.n_threads = threads, options.moment_species = moment_species;
        options.keep_features = threads == 3;
        if (train) same(slopes, gradients<double>(w, options, s), 1e-11, "gradients");
        if (train) same(moments, flux<double>(w, options, s), 1e-11, "flux");
        if (train) same(moments, flux<float>(w, options, s), 1e-4, "flux, float32");
        same(truth, whole<double>(w, options, s), 1e-11, "float64");
        same(truth, whole<float>(w, options, s), 1e-4, "float32");
        for (const int ranks : {2, 4}) same(truth, in_ranks<double>(w, options, s, ranks), 1e-11, "ranks");
        same(truth, in_ranks<float>(w, options, s, 3), 1e-4, "ranks, float32");
      }
}

int main() {
  int cases = 0;
  for (const int n_species : {1, 2, 5})
    for (const int width : {6, 32, 50})
      for (const int n_layers : {1, 3}) {
        const Weights w = random_weights(n_species, width, n_layers, width == 32 ? 4.5 : 3.0);
        for (const int n : {0, 1, 2, 30, 53}) {
          if (n == 53 && width != 32) continue;
          one_case(w, random_system(n, n_species, n > 2 ? 0.0 : 50.0));
          one_case(w, random_system(n, n_species, n == 0 ? 10.0 : 1.45 * std::cbrt((double) n) + 0.8));
          cases += 2;
        }
      }
  const Weights w = random_weights(2, 32, 3, 3.0);
  const System s = random_system(30, 2, 0.0);
  const Pairs sample = pairs_of(s, all_of(s), s.size(), w.first_basis.cutoff);
  const TableChoice choice = choose_bins(w, sample, 1e-6);
  check(choice.error <= 1e-6, "table", choice.error);
  bool refused = false;
  try {
    choose_isa("abacus");
  } catch (const std::runtime_error &) {
    refused = true;
  }
  check(refused, "an unknown instruction set is refused", 0);
  std::printf("engine: %d cases passed\n", cases);
  return 0;
}
