// Memory on cache lines, in large pages where it is large.
#ifndef TLMD_ENGINE_BUFFER_H
#define TLMD_ENGINE_BUFFER_H

#include <sys/mman.h>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace tlmd::engine {

// Grows, never shrinks; new memory is zero.
template <class T> class Buffer {
 public:
  T *reserve(size_t n) {
    if (n <= size) return data();
    size = n + n / 32;
    constexpr size_t huge = 1 << 21;  // bytes of a large page, which spares address translations
    size_t bytes = (size * sizeof(T) + 127) / 64 * 64;
    const bool big = bytes >= 2 * huge;
    if (big) bytes = (bytes + huge - 1) / huge * huge;
    memory.reset(static_cast<T *>(std::aligned_alloc(big ? huge : 64, bytes)));
    if (!memory) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (big) madvise(memory.get(), bytes, MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void *>(memory.get()), 0, bytes);
    return data();
  }
  T *data() const { return memory.get(); }
  size_t bytes() const { return size * sizeof(T); }

 private:
  struct Free {
    void operator()(T *p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> memory;
  size_t size = 0;
};

}  // namespace tlmd::engine
#endif
