// What an evaluation holds; the passes are in painn.cpp. Training keeps more of it.
#ifndef TLMD_ENGINE_PAINN_IMPL_H
#define TLMD_ENGINE_PAINN_IMPL_H

#include "engine/painn.h"
#include "sphere.h"

namespace tlmd::engine {

// Places for `rows` atoms from `start` (null: none yet); the last layer has no mu and phi_vv. Returns their size.
template <class real>
size_t place_store(LayerStore<real> &s, real *start, size_t rows, size_t f, bool last, bool training, bool adjoints) {
  size_t size = 0;
  auto take = [&](real *&part, size_t width) {
    part = start ? start + size : nullptr;
    size += rows * width * f;
  };
  take(s.VU, 6), take(s.a_hidden, 1), take(s.a, 3), take(s.phi_hidden, 1);
  take(s.phi_vv, last ? 0 : 1), take(s.mu, last ? 0 : 3);
  if (training) take(s.q_in, 1), take(s.mu_in, 3), take(s.q_out, 1);
  if (!adjoints) return size;
  take(s.phi_active_adjoint, 1), take(s.a_active_adjoint, 1), take(s.q_adjoint, 1), take(s.q_norm_adjoint, 2);
  return size;
}

// visit(first, count, thread) of all tiles of n atoms
template <class Visit> void in_tiles(int n, int n_threads, const Visit &visit) {
  in_shares((n + TILE - 1) / TILE, n_threads, [&](int first, int end, int thread) {
    for (int k = first; k < end; k++) visit(k * TILE, std::min(TILE, n - k * TILE), thread);
  });
}

template <class real> struct PaiNN<real>::Impl {
  std::vector<double> scale, reference;
  Repulsion repulsion;
  Options options;
  std::string isa;
  Kernels<real> kernels;
  bool training, by_moments;
  Packed<real> packed;
  int width, n_blocks, lanes, n_layers, n_spheres;
  Sphere<real> spheres[2];  // of layer 1 and, if they reach less far, of the other layers
  Tables<real> tables;
  Buffer<real> basis_table;  // (rows, stride)
  Moments<real> moments;

  // Where a reverse pass over one layer reads and writes. There is one pass of the energy, and with a flux one of each
  // component a of sum_k (r_k - r_j)_a E_k.
  struct Reverse {
    real *state_after, *state;     // adjoints of q, mu after the layer and after its message
    real *inputs_after, *inputs;   // of the inputs of the next layer and of this one
    const Moments<real> *moments;  // layer 1
    real *slopes;                  // (threads, pairs, 4) of the layer's sphere
    bool of_energy;
  };
  struct Flux {
    Buffer<real> state, inputs, moment_adjoints, slopes[2];
    Moments<real> moments;
  };

  const Pairs *pairs = nullptr;
  Buffer<real> state, moment_sums, moment_adjoints, scratch, head_scratch;
  std::vector<Buffer<real>> inputs, kept, features;    // of each layer
  std::vector<Buffer<real>> adjoints, state_adjoints;  // of each layer's inputs and sums; without training one for all
  std::vector<LayerStore<real>> stores;
  std::vector<int> head_layers;
  std::vector<Buffer<real>> head_adjoints;  // of each layer's features; empty where the head does not read them
  std::vector<double> energies;
  size_t input_block = 0, state_block = 0;
  Flux flux[3];
  bool with_flux = false;

  Impl(const Weights &, const Options &, bool training);
  void set_weights(const Weights &);
  size_t memory() const;

  void begin(const Pairs &);
  void forward(int layer);
  void backward(int layer);
  void finish(Result &);
  void evaluate(const Pairs &, Result &);

  bool read_by_head(int l) const;
  int sphere_index(int l) const { return l > 0 && n_spheres == 2; }
  const Sphere<real> &sphere(int l) const { return spheres[sphere_index(l)]; }
  // dE/d(inputs) and dE/d(q, mu after the message) of layer l
  real *adjoints_of(int l) { return adjoints[training ? l : 0].data(); }
  real *state_adjoints_of(int l) { return (training ? state_adjoints[l] : state).data(); }

 private:
  void make_tables();
  void reserve();
  Reverse of_energy(int l);
  Reverse of_flux(int l, int a);
  void message(int l, const Reverse *reverse = nullptr);  // null: forward
  void update(int l, const Reverse *reverse = nullptr);
  void head();
  void first_layer();
  void first_layer_back(const Reverse &);
  void start_flux();
  void flux_back(int l);
  void pair_slopes(const real *of_first, const real *of_second, int stride, double *vectors) const;
};

}  // namespace tlmd::engine
#endif
