// SPDX-License-Identifier: MIT
#include "native.h"

#include "halo.h"

namespace tlmd {

template <class real> class NativePaiNN : public Native {
 public:
  NativePaiNN(const engine::Weights &weights, const engine::Options &options)
      : weights(weights), painn(weights, options) {}

  void evaluate(const engine::Pairs &pairs, Halo &halo, engine::Result &result, int n_threads) override {
    const int last = painn.n_layers() - 1;
    auto rows = [&](real *first) {
      return Halo::Rows<real>{first, pairs.n_owned, painn.row_width(), painn.n_blocks(), painn.block_stride()};
    };
    painn.set_threads(n_threads);
    n_owned = pairs.n_owned;
    painn.begin(pairs);
    for (int l = 1; l <= last; l++) {
      halo.forward(rows(painn.inputs(l)));
      painn.forward(l);
    }
    for (int l = last; l >= 1; l--) {
      painn.backward(l);
      for (int k = 0; k < painn.n_passes(); k++) halo.reverse(rows(painn.adjoints(k)));
    }
    painn.finish(result);
  }

  std::vector<double> features(int layer) const override {
    const size_t f = weights.width, stride = painn.feature_stride();
    std::vector<double> rows(n_owned * f);
    for (size_t i = 0; i < n_owned; i++) std::copy_n(painn.features(layer) + i * stride, f, &rows[i * f]);
    return rows;
  }
  void want_flux(bool wanted) override { painn.want_flux(wanted); }
  void set_head_weights(const std::vector<double> &weights) override { painn.set_head_weights(weights); }
  const std::string &isa() const override { return painn.isa(); }
  double memory() const override { return (double) painn.memory(); }
  double memory_per_atom(double pairs_per_atom, double rows_per_atom) const override {
    return engine::PaiNN<real>::memory_per_atom(weights, pairs_per_atom, rows_per_atom);
  }

 private:
  const engine::Weights weights;
  engine::PaiNN<real> painn;
  size_t n_owned = 0;
};

std::unique_ptr<Native> native(const engine::Weights &weights, bool float64, int n_bins) {
  engine::Options options;
  options.n_bins = n_bins;
  if (float64) return std::make_unique<NativePaiNN<double>>(weights, options);
  return std::make_unique<NativePaiNN<float>>(weights, options);
}

}  // namespace tlmd
