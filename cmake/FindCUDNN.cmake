# Finds the headers of cuDNN 9 and defines CUDNN::headers; the library is opened at run time. NvidiaLibrary.cmake says
# where it looks.
include(NvidiaLibrary)
include(FindPackageHandleStandardArgs)

taper_find_nvidia_header(CUDNN cudnn_version.h cudnn)
taper_read_version(CUDNN_VERSION "${CUDNN_HEADER}" CUDNN_MAJOR CUDNN_MINOR CUDNN_PATCHLEVEL)
find_package_handle_standard_args(CUDNN REQUIRED_VARS CUDNN_INCLUDE_DIR VERSION_VAR CUDNN_VERSION)
if(CUDNN_FOUND)
  taper_import_nvidia_headers(CUDNN CUDNN::headers)
endif()
