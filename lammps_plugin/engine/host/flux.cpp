// The reverse passes of the heat flux, one of each component a, beside that of the energy: README.md has the algebra.
#include "painn_impl.h"

namespace tlmd::engine {

// All zero: an atom's energy depends on its own features, where r_k - r_j is zero.
template <class real> void PaiNN<real>::Impl::start_flux() {
  const size_t rows = pairs->n_owned + SLACK;
  for (Flux &f : flux) {
    std::fill_n(f.state.reserve(n_blocks * state_block), n_blocks * state_block, real(0));
    f.inputs.reserve(n_blocks * input_block);
    f.moments = moments;
    f.moments.scalar_adjoint = f.moment_adjoints.reserve(rows * 4 * moments.adjoint_pitch);
    f.moments.vector_adjoint = f.moments.scalar_adjoint + rows * moments.adjoint_pitch;
    for (int s = 0; s < n_spheres; s++) {
      const size_t size = 4 * (size_t) spheres[s].size() * options.n_threads;
      std::fill_n(f.slopes[s].reserve(size), size, real(0));
    }
  }
}

template <class real> typename PaiNN<real>::Impl::Reverse PaiNN<real>::Impl::of_flux(int l, int a) {
  Flux &f = flux[a];
  return {
      f.state.data(), f.state.data(), f.inputs.data(), f.inputs.data(), &f.moments, f.slopes[sphere_index(l)].data(),
      false};
}

// After the energy's pass over this layer, whose adjoints of q and mu still stand.
template <class real> void PaiNN<real>::Impl::flux_back(int l) {
  for (int a = 0; a < 3; a++) {
    const Reverse reverse = of_flux(l, a);
    if (l < n_layers - 1) update(l, &reverse);
    message(l, &reverse);
  }
  in_shares(n_blocks, options.n_threads, [&](int first, int end, int) {
    for (int b = first; b < end; b++) {
      MessageFlux<real> m;
      m.table = tables.block(l, b);
      m.sums = state_adjoints_of(l) + b * state_block;
      for (int a = 0; a < 3; a++) m.adjoints[a] = flux[a].inputs.data() + b * input_block;
      kernels.message_flux(sphere(l).list, m);
    }
  });
}

template void PaiNN<float>::Impl::start_flux();
template void PaiNN<double>::Impl::start_flux();
template void PaiNN<float>::Impl::flux_back(int);
template void PaiNN<double>::Impl::flux_back(int);
template PaiNN<float>::Impl::Reverse PaiNN<float>::Impl::of_flux(int, int);
template PaiNN<double>::Impl::Reverse PaiNN<double>::Impl::of_flux(int, int);

}  // namespace tlmd::engine
