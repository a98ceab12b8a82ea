# Finds the headers of cuBLASLt, NVIDIA's matrix products, and defines CUBLASLT::headers; the library is opened at run
# time. NvidiaLibrary.cmake says where it looks.
include(NvidiaLibrary)
include(FindPackageHandleStandardArgs)

taper_find_nvidia_header(CUBLASLT cublasLt.h cublas)
taper_read_version(CUBLASLT_VERSION "${CUBLASLT_INCLUDE_DIR}/cublas_api.h"
                   CUBLAS_VER_MAJOR CUBLAS_VER_MINOR CUBLAS_VER_PATCH)
find_package_handle_standard_args(CUBLASLT REQUIRED_VARS CUBLASLT_INCLUDE_DIR VERSION_VAR CUBLASLT_VERSION)
if(CUBLASLT_FOUND)
  taper_import_nvidia_headers(CUBLASLT CUBLASLT::headers)
endif()
