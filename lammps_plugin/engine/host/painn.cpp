#include "painn_impl.h"

#include <cmath>
#include <stdexcept>

namespace tlmd::engine {

static constexpr int FEWEST_BINS = 96, USUAL_BINS = 256, MOST_BINS = 2048;

template <class real>
PaiNN<real>::PaiNN(const Weights &w, const Options &o) : impl(std::make_unique<Impl>(w, o, false)) {}
template <class real> PaiNN<real>::~PaiNN() = default;
template <class real> int PaiNN<real>::n_layers() const { return impl->n_layers; }
template <class real> const std::string &PaiNN<real>::isa() const { return impl->isa; }
template <class real> void PaiNN<real>::set_threads(int n) { impl->options.n_threads = std::max(n, 1); }
template <class real> void PaiNN<real>::set_head_weights(const std::vector<double> &weights) {
  impl->packed.set_head_weights(weights);
}
template <class real> void PaiNN<real>::begin(const Pairs &pairs) { impl->begin(pairs); }
template <class real> void PaiNN<real>::forward(int layer) { impl->forward(layer); }
template <class real> void PaiNN<real>::backward(int layer) { impl->backward(layer); }
template <class real> void PaiNN<real>::finish(Result &result) { impl->finish(result); }
template <class real> void PaiNN<real>::evaluate(const Pairs &pairs, Result &result) { impl->evaluate(pairs, result); }
template <class real> int PaiNN<real>::n_blocks() const { return impl->n_blocks; }
template <class real> int PaiNN<real>::row_width() const { return 5 * impl->lanes; }
template <class real> size_t PaiNN<real>::block_stride() const { return impl->input_block; }
template <class real> real *PaiNN<real>::inputs(int layer) { return impl->inputs[layer].data(); }
template <class real> real *PaiNN<real>::adjoints() { return impl->adjoints_of(0); }
template <class real> const real *PaiNN<real>::features(int layer) const { return impl->features[layer].data(); }
template <class real> int PaiNN<real>::feature_stride() const { return impl->width; }
template <class real> size_t PaiNN<real>::memory() const { return impl->memory(); }

template <class real>
double PaiNN<real>::memory_per_atom(const Weights &w, double pairs_per_atom, double rows_per_atom) {
  const double f = padded(w.width), layers = w.n_layers, moments = padded(w.n_species * w.basis.size());
  const double numbers =
      f * (15 * layers - 4 + 4 + 5 * layers * rows_per_atom + 2 * (double) w.head.layers.size()) + 8 * moments;
  return numbers * sizeof(real) +
         pairs_per_atom * (sizeof(PairGeometry<real>) + 2 * sizeof(int) + 4 * sizeof(real) + 6 * sizeof(double));
}

TableChoice choose_bins(const Weights &w, const Pairs &sample, double tolerance) {
  auto forces = [&](int n_bins) {
    Options options;
    options.n_bins = n_bins;
    Result result;
    PaiNN<double>(w, options).evaluate(sample, result);
    return forces_of(sample, result.slopes);
  };
  const auto truth = forces(0);
  double square = 0;
  for (double f : truth) square += f * f;
  const double rms = std::sqrt(square / std::max<size_t>(truth.size(), 1));
  if (rms == 0) return {USUAL_BINS, 0.0};  // a sample that says nothing
  for (int n_bins = FEWEST_BINS;;) {
    const auto f = forces(n_bins);
    double worst = 0;
    for (size_t k = 0; k < f.size(); k++) worst = std::max(worst, std::fabs(f[k] - truth[k]));
    const double error = worst / rms;
    if (error <= tolerance || n_bins >= MOST_BINS) return {n_bins, error};
    // the error of a quintic spline goes with the sixth power of a bin's width
    const double wanted = n_bins * std::pow(error / tolerance, 1.0 / 6);
    n_bins = std::min(MOST_BINS, std::max(n_bins + 16, (int) std::ceil(wanted / 16) * 16));
  }
}

template class PaiNN<float>;
template class PaiNN<double>;

}  // namespace tlmd::engine
