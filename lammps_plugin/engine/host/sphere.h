// The pairs within a radius as the kernels take them. There are two, one in the other, where layer 1 reaches further
// than the other layers.
#ifndef TLMD_ENGINE_SPHERE_H
#define TLMD_ENGINE_SPHERE_H

#include "tables.h"
#include "threads.h"

#include <algorithm>
#include <array>

namespace tlmd::engine {

template <class real> struct Sphere {
  Basis basis;
  int n_bins = 0;           // of the filter table; 0: each pair has its own rows
  Dense table_basis{0, 0};  // functions of the rows of the tables
  const Pairs *pairs = nullptr;
  std::vector<int> index;  // of the inner one: where its pairs are among all
  PairList<real> list;
  Buffer<int> bins;
  Buffer<PairGeometry<real>> geometry;
  Buffer<real> slopes;  // (threads, pairs, 4) dE/dd and dE/du

  void set(const Basis &of_layers, int bins) {
    basis = of_layers, n_bins = bins;
    if (n_bins > 0) table_basis = spline_basis(basis, n_bins);
  }

  int size() const { return (int) pairs->neighbour.size(); }
  size_t slopes_before(int thread) const { return (size_t) thread * size() * 4; }  // those of other threads
  real *slopes_of(int thread) const { return slopes.data() + slopes_before(thread); }
  size_t bytes() const { return bins.bytes() + geometry.bytes() + slopes.bytes() + index.size() * 32; }

  // The pairs of a step, all of them or those within the radius; curves: rows without a table have these, too.
  void take(const Pairs &all, bool those_within, const Kernels<real> &kernels, int n_threads, bool curves) {
    pairs = those_within ? &inner : &all;
    if (those_within) pick_within(basis.cutoff, all, inner, index);
    const int n = size();
    bins.reserve(n);
    geometry.reserve(n);
    slopes.reserve((size_t) n * 4 * n_threads);
    in_shares(n, n_threads, [&](int first, int end, int thread) {
      kernels.pair_geometry(pairs->vectors.data() + 3 * (size_t) first, end - first, std::max(n_bins, 1), basis.cutoff,
                            bins.data() + first, geometry.data() + first);
      std::fill_n(slopes_of(thread), (size_t) n * 4, real(0));
    });
    if (n_bins <= 0) table_basis = exact_basis(basis, *pairs, curves, bins.data(), geometry.data());
    list.n_atoms = all.n_owned;
    list.first = pairs->first.data(), list.directed = pairs->directed.data();
    list.neighbour = pairs->neighbour.data(), list.species = all.species.data();
    list.bin = bins.data(), list.geometry = geometry.data();
  }

 private:
  Pairs inner;
};

// dE/dd and dE/du of a pair, or their tangents, from those of each thread (threads, pairs, 4)
template <class real> std::array<double, 4> sum_of_threads(const real *slopes, int n_threads, int n_pairs, int pair) {
  std::array<double, 4> sum{};
  for (int t = 0; t < n_threads; t++)
    for (int k = 0; k < 4; k++) sum[k] += slopes[((size_t) t * n_pairs + pair) * 4 + k];
  return sum;
}

}  // namespace tlmd::engine
#endif
