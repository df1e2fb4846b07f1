// numpy arrays in and out.
#ifndef TLMD_ENGINE_ARRAYS_OF_PYTHON_H
#define TLMD_ENGINE_ARRAYS_OF_PYTHON_H

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <vector>

namespace tlmd::engine {

namespace nb = nanobind;

template <class T, int dimensions>
using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu, nb::ndim<dimensions>>;

inline std::vector<double> numbers(const Array<double, 1> &values) {
  return {values.data(), values.data() + values.size()};
}

// An array that owns what it shows.
template <class real> auto numpy(std::vector<real> values, std::initializer_list<size_t> shape) {
  auto *kept = new std::vector<real>(std::move(values));
  nb::capsule owner(kept, [](void *p) noexcept { delete static_cast<std::vector<real> *>(p); });
  return nb::ndarray<nb::numpy, real>(kept->data(), shape, owner);
}

}  // namespace tlmd::engine
#endif
