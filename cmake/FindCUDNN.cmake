# Finds cuDNN 9 and defines CUDNN::cudnn. NvidiaLibrary.cmake says where it looks.
include(NvidiaLibrary)
include(FindPackageHandleStandardArgs)

taper_find_nvidia_library(CUDNN cudnn_version.h cudnn cudnn.so.9 cudnn)
taper_read_version(CUDNN_VERSION "${CUDNN_HEADER}" CUDNN_MAJOR CUDNN_MINOR CUDNN_PATCHLEVEL)
find_package_handle_standard_args(CUDNN REQUIRED_VARS CUDNN_LIBRARY CUDNN_INCLUDE_DIR VERSION_VAR CUDNN_VERSION)
if(CUDNN_FOUND)
  taper_import_nvidia_library(CUDNN CUDNN::cudnn)
endif()
