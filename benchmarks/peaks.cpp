// What one core can do, printed as "GFLOP/s L2 DRAM": fused multiply-adds in float32, and GB/s of reading 256 KiB (from
// L2) and 512 MiB (from DRAM) again and again. Best of 20. g++ -O3 -march=native peaks.cpp
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#ifdef __AVX512F__
constexpr int BYTES = 64, SUMS = 24;
#else
constexpr int BYTES = 32, SUMS = 12;
#endif
typedef float vec __attribute__((vector_size(BYTES)));
static volatile float sink;

template <class F> static double best(const F &work) {  // seconds
  double least = 1e9;
  for (int k = 0; k < 20; k++) {
    const auto start = std::chrono::steady_clock::now();
    work();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}

static void multiply_add(int n) {
  vec sum[SUMS], x = vec{} + 0.999f, y = vec{} + 0.001f;
  for (int s = 0; s < SUMS; s++) sum[s] = vec{} + (float) s + sink;  // all different, or the compiler merges them
  for (int k = 0; k < n; k++) {
#pragma GCC unroll 24
    for (int s = 0; s < SUMS; s++) sum[s] = sum[s] * x + y;
  }
  for (int s = 1; s < SUMS; s++) sum[0] += sum[s];
  sink = sum[0][0];
}

static void read(const vec *p, size_t n) {
  vec sum[8] = {};
  for (size_t k = 0; k < n; k += 8)
#pragma GCC unroll 8
    for (int s = 0; s < 8; s++) sum[s] += p[k + s];
  for (int s = 1; s < 8; s++) sum[0] += sum[s];
  sink = sum[0][0];
}

static double bandwidth(size_t bytes, int times) {
  const size_t n = bytes / BYTES;
  std::vector<vec> buffer(n, vec{});
  const double time = best([&] {
    for (int k = 0; k < times; k++) read(buffer.data(), n);
  });
  return 1e-9 * bytes * times / time;
}

int main() {
  const int n = 2000000;
  const double flops = 2.0 * n * SUMS * BYTES / sizeof(float) / best([&] { multiply_add(n); });
  std::printf("%.1f %.1f %.1f\n", flops * 1e-9, bandwidth(256 << 10, 400), bandwidth(512 << 20, 1));
}
