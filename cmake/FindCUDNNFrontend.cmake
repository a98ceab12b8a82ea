# Finds cudnn-frontend, NVIDIA's C++ headers over cuDNN's graph API, and defines CUDNNFrontend::headers. Looks in
# CUDNNFrontend_ROOT, the CUDA toolkit, the system's packages, and in the wheel nvidia-cudnn-frontend of the Python on
# PATH, which has its headers in site-packages/include.
include(NvidiaLibrary)
include(FindPackageHandleStandardArgs)

set(wheels "")
taper_wheels_python(python)
if(python)
  execute_process(COMMAND ${python} -c "import sys; print(*(p for p in sys.path if p.endswith('-packages')), sep=';')"
                  OUTPUT_VARIABLE wheels OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
find_path(CUDNNFrontend_INCLUDE_DIR cudnn_frontend_version.h
          HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${wheels} PATH_SUFFIXES include)
mark_as_advanced(CUDNNFrontend_INCLUDE_DIR)
taper_read_version(CUDNNFrontend_VERSION "${CUDNNFrontend_INCLUDE_DIR}/cudnn_frontend_version.h"
                   CUDNN_FRONTEND_MAJOR_VERSION CUDNN_FRONTEND_MINOR_VERSION CUDNN_FRONTEND_PATCH_VERSION)
find_package_handle_standard_args(CUDNNFrontend REQUIRED_VARS CUDNNFrontend_INCLUDE_DIR
                                  VERSION_VAR CUDNNFrontend_VERSION)
if(CUDNNFrontend_FOUND)
  taper_import_nvidia_headers(CUDNNFrontend CUDNNFrontend::headers)
endif()
