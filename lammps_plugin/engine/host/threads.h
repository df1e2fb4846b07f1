// Work dealt out to threads in order, the same way every time.
#ifndef TLMD_ENGINE_THREADS_H
#define TLMD_ENGINE_THREADS_H

namespace tlmd::engine {

// work(first, end, thread): each thread gets a run of 0 .. n-1.
template <class F> void in_shares(int n, int n_threads, const F &work) {
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
  for (int thread = 0; thread < n_threads; thread++)
    work((int) ((long) n * thread / n_threads), (int) ((long) n * (thread + 1) / n_threads), thread);
}

}  // namespace tlmd::engine
#endif
