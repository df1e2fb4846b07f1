// The passes of D3 over the pairs of a rank.
#include "engine/d3.h"

#include "engine/isa.h"
#include "kernels/d3_kernels.h"
#include "kernels/kernels.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tlmd::engine {

using Weights = std::array<double, D3_REFERENCES>;
constexpr double FAR = 1e10;  // A, of what fills the last vector of lanes: no energy
constexpr double PI = 3.14159265358979323846;

// The pairs of one centre with one species that are within a cutoff, in arrays of their own.

struct D3Work {
  int n = 0, padded = 0;
  std::vector<int> partner;
  std::vector<double> memory;
  double *r[3], *energy, *force[3], *by_partner, *weight[D3_REFERENCES - 1], *weight_slope[D3_REFERENCES - 1];

  void reserve(size_t size) {
    if (size <= partner.size()) return;
    partner.resize(size);
    constexpr int arrays = 8 + 2 * (D3_REFERENCES - 1);
    memory.resize(arrays * size);
    double *next = memory.data();
    for (double **p : {&r[0], &r[1], &r[2], &energy, &force[0], &force[1], &force[2], &by_partner})
      *p = next, next += size;
    for (int w = 0; w < D3_REFERENCES - 1; w++) weight[w] = next, weight_slope[w] = next + size, next += 2 * size;
  }

  void gather(const double *positions, int centre, const int *partners, size_t count, double cutoff, int lanes) {
    reserve(count + lanes);
    const double *c = positions + 3 * (size_t) centre, x = c[0], y = c[1], z = c[2], square = cutoff * cutoff;
    int m = 0;
    for (size_t p = 0; p < count; p++) {
      const double *q = positions + 3 * (size_t) partners[p];
      const double dx = x - q[0], dy = y - q[1], dz = z - q[2];
      partner[m] = partners[p];
      r[0][m] = dx, r[1][m] = dy, r[2][m] = dz;
      m += dx * dx + dy * dy + dz * dz < square;
    }
    n = m;
    padded = (n + lanes - 1) / lanes * lanes;
    for (int k = n; k < padded; k++) r[0][k] = FAR, r[1][k] = r[2][k] = 0;
  }

  void gather_weights(const double *rows, int row_size, int count, bool slopes) {
    for (int w = 0; w < count; w++) {
      for (int k = 0; k < n; k++) weight[w][k] = rows[(size_t) partner[k] * row_size + w];
      if (slopes)
        for (int k = 0; k < n; k++) weight_slope[w][k] = rows[(size_t) partner[k] * row_size + row_size / 2 + w];
      for (int k = n; k < padded; k++) weight[w][k] = weight_slope[w][k] = 0;
    }
  }

  // Forces of the pairs, their sum on the centre, and where wanted energies and virials of atoms.
  void scatter(int centre, const double *sum, D3Result &result, bool energies) const {
    double *f = result.forces;
    for (int k = 0; k < n; k++)
      for (int d = 0; d < 3; d++) f[3 * (size_t) partner[k] + d] -= force[d][k];
    for (int d = 0; d < 3; d++) f[3 * (size_t) centre + d] += sum[d];
    if (energies && result.energies)
      for (int k = 0; k < n; k++) {
        result.energies[centre] += 0.5 * energy[k];
        result.energies[partner[k]] += 0.5 * energy[k];
      }
    if (!result.virials) return;
    constexpr int A[6] = {0, 1, 2, 0, 0, 1}, B[6] = {0, 1, 2, 1, 2, 2};
    for (int k = 0; k < n; k++)
      for (int v = 0; v < 6; v++) {
        const double half = 0.5 * r[A[v]][k] * force[B[v]][k];
        result.virials[6 * (size_t) centre + v] += half;
        result.virials[6 * (size_t) partner[k] + v] += half;
      }
  }
};

struct D3::Impl {
  D3Parameters p;
  D3Kernels kernels;
  std::vector<double> s8, d6, d8, radius;  // (S, S)
  mutable D3Work work;

  // c6[a] = sum over b of C6(a, b) of two species
  const double *table(int s, int t) const {
    return &p.c6[((size_t) s * p.n_species + t) * p.n_references * p.n_references];
  }
  int references(int s) const { return (int) p.numbers[s].size(); }
  int others() const { return p.n_references - 1; }

  // Of the references of `t`: sums over those of `s`, whose weights (but the first) are given, less that of the first.
  void contract(int s, int t, const double *weights, double first, Weights &out) const {
    const double *c6 = table(s, t);
    for (int b = 0; b < references(t); b++) {
      double sum = first * c6[b];
      for (int a = 1; a < references(s); a++) sum += weights[a - 1] * c6[a * p.n_references + b];
      out[b] = sum;
    }
    for (int b = 1; b < references(t); b++) out[b] -= out[0];
  }
  // The near pairs of a centre with species `t` into `work`: counts as energies, their slopes by r^2 by partner.
  void count_near(const D3List &list, size_t centre, int t, int s, const double *positions) const {
    const size_t *at = &list.starts[2 * (centre * p.n_species + t)];
    work.gather(positions, list.centres[centre], &list.partners[at[0]], at[1] - at[0], p.cn_cutoff, kernels.lanes);
    kernels.counts({work.padded,
                    p.counting,
                    radius[s * p.n_species + t],
                    {work.r[0], work.r[1], work.r[2]},
                    work.energy,
                    work.by_partner});
  }
  static double rest(double whole, const double *weights, int n) {
    for (int w = 0; w < n; w++) whole -= weights[w];
    return whole;
  }
};

D3::D3(const D3Parameters &parameters, const std::string &isa) : impl(std::make_unique<Impl>()) {
  impl->p = parameters;
  const D3Parameters &p = impl->p;
  impl->kernels = kernels_of<D3Kernels>(choose_isa(isa).c_str());
  for (int s = 0; s < p.n_species; s++)
    for (int t = 0; t < p.n_species; t++) {
      const double ratio = 3 * p.r4r2[s] * p.r4r2[t];  // C8 / C6, A^2
      impl->s8.push_back(p.s8 * ratio);
      impl->radius.push_back(p.covalent[s] + p.covalent[t]);
      if (p.becke_johnson) {
        const double r0 = p.first * std::sqrt(ratio) + p.second;
        impl->d6.push_back(std::pow(r0, 6));
        impl->d8.push_back(std::pow(r0, 8));
      } else {
        const double r0 = p.radii[s * p.n_species + t];
        impl->d6.push_back(6 * std::pow(p.first * r0, 14));
        impl->d8.push_back(6 * std::pow(p.second * r0, 16));
      }
    }
}

D3::~D3() = default;

int D3::row_size() const { return 2 * impl->others(); }

void D3::weigh(int species, double number, double *row) const {
  const auto &references = impl->p.numbers[species];
  const int n = (int) references.size(), others = impl->others();
  Weights exponent, weight, slope;
  double largest = -HUGE_VAL, sum = 0, mean = 0;
  for (int a = 0; a < n; a++) {
    const double off = number - references[a];
    exponent[a] = -impl->p.weighting * off * off;
    slope[a] = -2 * impl->p.weighting * off;  // of the exponent
    largest = std::max(largest, exponent[a]);
  }
  for (int a = 0; a < n; a++) sum += weight[a] = std::exp(exponent[a] - largest);
  for (int a = 0; a < n; a++) mean += (weight[a] /= sum) * slope[a];
  std::fill(row, row + 2 * others, 0.0);
  for (int a = 1; a < n; a++) {
    row[a - 1] = weight[a];
    row[others + a - 1] = weight[a] * (slope[a] - mean);
  }
}

void D3::count(const D3List &list, const int *species, const double *positions, double *numbers) const {
  const D3Parameters &p = impl->p;
  const int S = p.n_species;
  D3Work &work = impl->work;
  for (size_t c = 0; c < list.centres.size(); c++) {
    const int i = list.centres[c];
    double sum = 0;
    for (int t = 0; t < S; t++) {
      impl->count_near(list, c, t, species[i], positions);
      for (int k = 0; k < work.n; k++) {
        sum += work.energy[k];
        numbers[work.partner[k]] += work.energy[k];
      }
    }
    numbers[i] += sum;
  }
}

void D3::disperse(const D3List &list, const int *species, const double *positions, const double *rows, double *slopes,
                  D3Result &result) const {
  const D3Parameters &p = impl->p;
  const int S = p.n_species, size = row_size(), others = impl->others();
  const auto kernel = impl->kernels.pairs[p.becke_johnson][slopes != nullptr];
  D3Work &work = impl->work;
  for (size_t c = 0; c < list.centres.size(); c++) {
    const int i = list.centres[c], s = species[i];
    const double *row = rows + (size_t) i * size;
    const double first = Impl::rest(1, row, others), first_slope = Impl::rest(0, row + others, others);
    for (int t = 0; t < S; t++) {
      const size_t *at = &list.starts[2 * (c * S + t)];
      work.gather(positions, i, &list.partners[at[0]], at[2] - at[0], p.cutoff, impl->kernels.lanes);
      if (!work.n) continue;
      work.gather_weights(rows, size, impl->references(t) - 1, slopes);
      Weights c6{}, by_centre{};
      impl->contract(s, t, row, first, c6);
      if (slopes) impl->contract(s, t, row + others, first_slope, by_centre);
      const int st = s * S + t;
      D3Pairs<double> block{work.padded,
                            impl->references(t) - 1,
                            p.s6,
                            impl->s8[st],
                            impl->d6[st],
                            impl->d8[st],
                            c6[0],
                            by_centre[0],
                            &c6[1],
                            &by_centre[1],
                            {work.r[0], work.r[1], work.r[2]},
                            work.weight,
                            work.weight_slope,
                            work.energy,
                            {work.force[0], work.force[1], work.force[2]},
                            work.by_partner,
                            {}};
      kernel(block);
      result.energy += block.sums[0];
      for (int v = 0; v < 6; v++) result.virial[v] += block.sums[4 + v];
      work.scatter(i, block.sums + 1, result, true);
      if (!slopes) continue;
      slopes[i] += block.sums[10];
      for (int k = 0; k < work.n; k++) slopes[work.partner[k]] += work.by_partner[k];
    }
  }
}

void D3::follow(const D3List &list, const int *species, const double *positions, const double *slopes,
                D3Result &result) const {
  const D3Parameters &p = impl->p;
  const int S = p.n_species;
  D3Work &work = impl->work;
  for (size_t c = 0; c < list.centres.size(); c++) {
    const int i = list.centres[c];
    for (int t = 0; t < S; t++) {
      impl->count_near(list, c, t, species[i], positions);
      double sum[10] = {};
      for (int k = 0; k < work.n; k++) {
        const double slope = slopes[i] + slopes[work.partner[k]], pull = -2 * slope * work.by_partner[k];
        sum[0] += work.energy[k] *= slope;
        const double x = work.r[0][k], y = work.r[1][k], z = work.r[2][k];
        const double f[3] = {pull * x, pull * y, pull * z};
        for (int d = 0; d < 3; d++) sum[1 + d] += work.force[d][k] = f[d];
        sum[4] += x * f[0], sum[5] += y * f[1], sum[6] += z * f[2];
        sum[7] += x * f[1], sum[8] += x * f[2], sum[9] += y * f[2];
      }
      result.energy += sum[0];
      for (int v = 0; v < 6; v++) result.virial[v] += sum[4 + v];
      work.scatter(i, sum + 1, result, false);
    }
  }
}

void D3::add_weights(int species, const double *row, double *totals) const {
  double *of = totals + (size_t) species * impl->p.n_references;
  of[0] += Impl::rest(1, row, impl->others());
  for (int w = 0; w < impl->others(); w++) of[w + 1] += row[w];
}

// -2 pi / V times integrals of r^2 C6 (s6 r^-6 + s8 C8/C6 r^-8) beyond the cutoff, undamped; a virial's part is n / 3
// of an energy r^-n.
void D3::tail(const double *totals, double volume, std::vector<double> &energy, std::vector<double> &virial) const {
  const D3Parameters &p = impl->p;
  const int S = p.n_species, R = p.n_references;
  energy.assign(S * R, 0);
  virial.assign(S * R, 0);
  for (int s = 0; s < S; s++)
    for (int t = 0; t < S; t++) {
      const double six = -2 * PI / volume * p.s6 / (3 * std::pow(p.cutoff, 3));
      const double eight = -2 * PI / volume * impl->s8[s * S + t] / (5 * std::pow(p.cutoff, 5));
      for (int a = 0; a < impl->references(s); a++)
        for (int b = 0; b < impl->references(t); b++) {
          const double c6 = impl->table(s, t)[a * R + b] * totals[t * R + b];
          energy[s * R + a] += (six + eight) * c6;
          virial[s * R + a] += (2 * six + 8.0 / 3 * eight) * c6;
        }
    }
}

double D3::of_weights(int species, const double *row, const std::vector<double> &values) const {
  const double *of = &values[(size_t) species * impl->p.n_references];
  double sum = of[0] * Impl::rest(1, row, impl->others());
  for (int w = 0; w < impl->others(); w++) sum += of[w + 1] * row[w];
  return sum;
}

double D3::slope_of_weights(int species, const double *row, const std::vector<double> &values) const {
  const double *of = &values[(size_t) species * impl->p.n_references];
  const double *slopes = row + impl->others();
  double sum = of[0] * Impl::rest(0, slopes, impl->others());
  for (int w = 0; w < impl->others(); w++) sum += of[w + 1] * slopes[w];
  return sum;
}

}  // namespace tlmd::engine
