// The filter table of a channel block from its basis functions and filters, and their gradient from the table's.
#ifndef TLMD_ENGINE_FILTER_TABLE_H
#define TLMD_ENGINE_FILTER_TABLE_H

#include "vec.h"

namespace tlmd::engine::TLMD_ISA {

template <class real>
static void make_table(const double *basis, int rows, int n_basis, const double *filters, real *table) {
  constexpr int n = 3 * lanes<real>, l = lanes<double>, parts = n / l;
  for (int r = 0; r < rows; r++, basis += n_basis, table += n) {
    vec<double> sum[parts] = {};
    for (int k = 0; k < n_basis; k++)
#pragma GCC unroll 8
      for (int c = 0; c < parts; c++) sum[c] += basis[k] * load(filters + k * n + c * l);
#pragma GCC unroll 8
    for (int c = 0; c < parts; c++)
      for (int lane = 0; lane < l; lane++) table[c * l + lane] = (real) sum[c][lane];
  }
}

template <class real>
static void table_back(const double *basis, int rows, int n_basis, const real *table, double *filters) {
  constexpr int n = 3 * lanes<real>, l = lanes<double>, parts = n / l;
  for (int r = 0; r < rows; r++, basis += n_basis, table += n) {
    vec<double> row[parts];
#pragma GCC unroll 8
    for (int c = 0; c < parts; c++)
      for (int lane = 0; lane < l; lane++) row[c][lane] = table[c * l + lane];
    for (int k = 0; k < n_basis; k++)
#pragma GCC unroll 8
      for (int c = 0; c < parts; c++) add_to(filters + k * n + c * l, basis[k] * row[c]);
  }
}

}  // namespace tlmd::engine::TLMD_ISA
#endif
