// The functions of a kernel head. No standard library here: the kernels include it.
#ifndef TLMD_ENGINE_FUNCTION_H
#define TLMD_ENGINE_FUNCTION_H

namespace tlmd::engine {

enum Function { LINEAR, FOURIER, GAUSSIAN, POLYNOMIAL };

}  // namespace tlmd::engine
#endif
