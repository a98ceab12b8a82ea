#pragma once
// For functions that run on the CPU and in kernels alike.

#if defined(__CUDACC__)
#define TAPER_HOST_DEVICE __host__ __device__
#else
#define TAPER_HOST_DEVICE
#endif
