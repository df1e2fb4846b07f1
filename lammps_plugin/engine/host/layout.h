// Where the numbers of PyTorch's matrices lie in the engine: channels are padded, and grouped in parts.
#ifndef TLMD_ENGINE_LAYOUT_H
#define TLMD_ENGINE_LAYOUT_H

#include "engine/weights.h"
#include "kernels/arrays.h"

#include <algorithm>
#include <vector>

namespace tlmd::engine {

// How the matrix (in, out) of a layer lies in the engine: inputs and outputs are parts of equal width, each padded; of
// the outputs those parts that `out_parts` names.
struct Layout {
  int in_parts = 1;
  std::vector<int> out_parts = {0};
  int n_out_parts = 1;

  int rows(const Linear &l) const { return in_parts * padded(l.n_in / in_parts); }
  int columns(const Linear &l) const { return (int) out_parts.size() * padded(l.n_out / n_out_parts); }
};
inline Layout VU_layout() { return {1, {0, 1}, 2}; }
inline Layout a0_layout() { return {2, {0}, 1}; }
inline Layout a2_layout(bool last) { return {1, last ? std::vector<int>{0, 2} : std::vector<int>{0, 1, 2}, 3}; }
inline Layout phi2_layout() { return {1, {0, 1, 2}, 3}; }

// Calls visit(row, column, index in PyTorch's weight, n) for runs of rows in squares that stay in cache: rows r ..
// r+n-1 have the weights at .. at+n-1. No run crosses a multiple of PAD rows.
template <class Visit> void for_weights(const Linear &linear, const Layout &layout, const Visit &visit) {
  const int in = linear.n_in / layout.in_parts, out = linear.n_out / layout.n_out_parts;
  for (size_t p = 0; p < layout.out_parts.size(); p++)
    for (int o0 = 0; o0 < out; o0 += PAD)
      for (int q = 0; q < layout.in_parts; q++)
        for (int i = 0; i < in; i += PAD)
          for (int o = o0; o < std::min(out, o0 + PAD); o++)
            visit(q * padded(in) + i, (int) p * padded(out) + o,
                  (size_t) (layout.out_parts[p] * out + o) * linear.n_in + q * in + i, std::min(PAD, in - i));
}

// The same for biases: visit(column, index).
template <class Visit> void for_biases(const Linear &linear, const Layout &layout, const Visit &visit) {
  const int out = linear.n_out / layout.n_out_parts;
  for (size_t p = 0; p < layout.out_parts.size(); p++)
    for (int o = 0; o < out; o++) visit((int) p * padded(out) + o, layout.out_parts[p] * out + o);
}

// A layer's gradients in PyTorch's layout from sums (rows, columns), or (columns,) of the bias, of each thread.
template <class real>
std::vector<real> unpacked_weight(const Linear &linear, const Layout &layout, const std::vector<const real *> &sums) {
  const int n = layout.columns(linear);
  std::vector<real> weight((size_t) linear.n_out * linear.n_in);
  for_weights(linear, layout, [&](int r, int c, size_t at, int count) {
    for (const real *sum : sums)
      for (int k = 0; k < count; k++) weight[at + k] += sum[(size_t) (r + k) * n + c];
  });
  return weight;
}

template <class real>
std::vector<real> unpacked_bias(const Linear &linear, const Layout &layout, const std::vector<const real *> &sums) {
  std::vector<real> bias(linear.n_out);
  for_biases(linear, layout, [&](int c, int at) {
    for (const real *sum : sums) bias[at] += sum[c];
  });
  return bias;
}

}  // namespace tlmd::engine
#endif
