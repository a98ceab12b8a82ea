# Third-party libraries: Debian packages (scripts/setup.sh installs them), and NVIDIA's for a real GPU.

# Programs for a GPU machine are often built on another: what can be linked statically travels inside them.
# For the rest see taper_travelling_libraries below.
if(TAPER_GPU STREQUAL "cuda")
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a .so)
endif()
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
set(CMAKE_FIND_LIBRARY_SUFFIXES .so .a)

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
if(TAPER_BUILD_PROGRAMS)
  find_package(CLI11 REQUIRED)
  find_package(Catch2 2.13 REQUIRED)
  find_package(benchmark REQUIRED)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
endif()

# Open MPI's headers; the library is opened at run time (ops/collective/mpi/library.h).
set(TAPER_HAVE_MPI 0)
set(TAPER_MPI_LIBRARIES "")
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI QUIET COMPONENTS CXX)
set(found "")
if(MPI_CXX_FOUND)
  file(STRINGS ${MPI_CXX_HEADER_DIR}/mpi.h found REGEX "^#define OPEN_MPI ")
endif()
if(found)
  set(TAPER_HAVE_MPI 1)
  add_library(taper_mpi_headers INTERFACE)
  target_include_directories(taper_mpi_headers SYSTEM INTERFACE ${MPI_CXX_INCLUDE_DIRS})
  target_compile_definitions(taper_mpi_headers INTERFACE OMPI_SKIP_MPICXX=1) # the C++ functions that MPI 3 removed
  set(TAPER_MPI_LIBRARIES $<BUILD_INTERFACE:taper_mpi_headers>)
else()
  message(NOTICE "Building without MPI, for several processes: Open MPI's headers were not found (Debian: libopenmpi-dev)")
endif()

# cudnn-frontend as FindCUDNNFrontend.cmake finds it, else, if asked for, from its repository.
option(TAPER_FETCH_CUDNN_FRONTEND "Download cudnn-frontend's headers if they are not here (TAPER_GPU=cuda)" OFF)
macro(taper_find_cudnn_frontend)
  find_package(CUDNNFrontend 1.32 QUIET)
  if(NOT CUDNNFrontend_FOUND AND TAPER_FETCH_CUDNN_FRONTEND)
    include(FetchContent)
    FetchContent_Declare(cudnn_frontend GIT_REPOSITORY https://github.com/NVIDIA/cudnn-frontend.git GIT_TAG v1.32.0
                         GIT_SHALLOW ON SOURCE_SUBDIR include) # the headers alone: there is nothing to build
    FetchContent_MakeAvailable(cudnn_frontend)
    set(CUDNNFrontend_ROOT ${cudnn_frontend_SOURCE_DIR})
    find_package(CUDNNFrontend 1.32 REQUIRED)
  endif()
endmacro()

# What core and ops link for their GPU, and which of NVIDIA's libraries that includes.
set(TAPER_HAVE_CUBLASLT 0)
set(TAPER_HAVE_CUDNN 0)
set(TAPER_HAVE_NCCL 0)
if(TAPER_GPU STREQUAL "sim")
  find_package(Boost REQUIRED COMPONENTS context) # the fibers of the simulated GPU
  set(TAPER_GPU_LIBRARIES Boost::context)
else()
  find_package(CUDAToolkit REQUIRED)
  set(TAPER_GPU_LIBRARIES CUDA::cudart)
  set(cuda cu${CUDAToolkit_VERSION_MAJOR})
  find_package(CUBLASLT QUIET)
  if(CUBLASLT_FOUND)
    set(TAPER_HAVE_CUBLASLT 1)
    list(APPEND TAPER_GPU_LIBRARIES $<BUILD_INTERFACE:CUBLASLT::headers>)
  else()
    message(NOTICE "Building without cuBLASLt, whose headers were not found: pip install nvidia-cublas, or set CUBLASLT_ROOT")
  endif()
  find_package(CUDNN 9.2 QUIET)
  taper_find_cudnn_frontend()
  if(CUDNN_FOUND AND CUDNNFrontend_FOUND)
    set(TAPER_HAVE_CUDNN 1)
    list(APPEND TAPER_GPU_LIBRARIES $<BUILD_INTERFACE:CUDNN::headers> $<BUILD_INTERFACE:CUDNNFrontend::headers>)
  elseif(CUDNN_FOUND)
    message(NOTICE "Building without cuDNN: its C++ headers, cudnn-frontend, were not found: "
                   "pip install nvidia-cudnn-frontend, set CUDNNFrontend_ROOT, or -DTAPER_FETCH_CUDNN_FRONTEND=ON")
  else()
    message(NOTICE "Building without cuDNN, whose headers (9.2 or newer) were not found: pip install nvidia-cudnn-${cuda}, "
                   "or set CUDNN_ROOT")
  endif()
  find_package(NCCL QUIET)
  if(NCCL_FOUND)
    set(TAPER_HAVE_NCCL 1)
    list(APPEND TAPER_GPU_LIBRARIES $<BUILD_INTERFACE:NCCL::headers>)
  endif()
endif()

# Shared libraries that the GPU machine may lack, and that have no static archive in Debian. They are copied to lib/ in the
# build folder, where the programs look for them (scripts/gpu_pack.sh packs both).
if(TAPER_GPU STREQUAL "cuda" AND TAPER_BUILD_PROGRAMS)
  set(CMAKE_BUILD_RPATH "$ORIGIN/../lib")
  add_custom_target(taper_travelling_libraries ALL COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/lib
                    VERBATIM)
  foreach(library fmt::fmt benchmark::benchmark)
    add_custom_command(TARGET taper_travelling_libraries POST_BUILD VERBATIM COMMAND ${CMAKE_COMMAND} -E copy_if_different
      $<TARGET_FILE:${library}> ${PROJECT_BINARY_DIR}/lib/$<TARGET_SONAME_FILE_NAME:${library}>)
  endforeach()
endif()
