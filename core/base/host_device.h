#pragma once
// Marks functions that run both on the CPU and in kernels.

#if defined(__CUDACC__)
#define TAPER_HOST_DEVICE __host__ __device__
#else
#define TAPER_HOST_DEVICE
#endif
