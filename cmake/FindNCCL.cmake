# Finds the header of NCCL and defines NCCL::headers; the library is opened at run time. NvidiaLibrary.cmake says where it
# looks.
include(NvidiaLibrary)
include(FindPackageHandleStandardArgs)

taper_find_nvidia_header(NCCL nccl.h nccl)
taper_read_version(NCCL_VERSION "${NCCL_HEADER}" NCCL_MAJOR NCCL_MINOR NCCL_PATCH)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_INCLUDE_DIR VERSION_VAR NCCL_VERSION)
if(NCCL_FOUND)
  taper_import_nvidia_headers(NCCL NCCL::headers)
endif()
