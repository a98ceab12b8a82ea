# taper_find_nvidia_header(NAME HEADER WHEEL): what FindCUBLASLT, FindCUDNN and FindNCCL share. Looks for HEADER in the
# CUDA toolkit, in the system's packages, and in NVIDIA's Python wheels (site-packages/nvidia/WHEEL/include). Sets
# NAME_INCLUDE_DIR, and NAME_HEADER, the header's path. NAME_ROOT is searched first. Enough for a library that is
# opened at run time (core/gpu/shared_library.h).
function(taper_find_nvidia_header name header wheel)
  taper_nvidia_wheel_dirs(wheels)
  list(TRANSFORM wheels APPEND /${wheel} OUTPUT_VARIABLE own)
  list(TRANSFORM wheels APPEND /cu${CUDAToolkit_VERSION_MAJOR} OUTPUT_VARIABLE shared) # CUDA 13's own libraries
  find_path(${name}_INCLUDE_DIR ${header}
            HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${own} ${shared} PATH_SUFFIXES include)
  mark_as_advanced(${name}_INCLUDE_DIR)
  set(${name}_HEADER ${${name}_INCLUDE_DIR}/${header} PARENT_SCOPE)
endfunction()

# The Python whose wheels are searched: the one on PATH. Empty if there is none.
function(taper_wheels_python result)
  find_program(TAPER_WHEELS_PYTHON NAMES python3 python)
  mark_as_advanced(TAPER_WHEELS_PYTHON)
  if(TAPER_WHEELS_PYTHON)
    set(${result} ${TAPER_WHEELS_PYTHON} PARENT_SCOPE)
  else()
    set(${result} "" PARENT_SCOPE)
  endif()
endfunction()

# The folders .../site-packages/nvidia of that Python's packages.
function(taper_nvidia_wheel_dirs result)
  taper_wheels_python(python)
  set(found "")
  if(python)
    execute_process(
      COMMAND ${python} -c "import nvidia; print(*nvidia.__path__, sep=';')"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# taper_read_version(RESULT HEADER MACRO...): joins the numbers that HEADER defines as MACROs with dots.
function(taper_read_version result header)
  set(numbers "")
  if(EXISTS ${header})
    file(READ ${header} text)
    foreach(macro ${ARGN})
      if(text MATCHES "#define[ \t]+${macro}[ \t]+([0-9]+)")
        list(APPEND numbers ${CMAKE_MATCH_1})
      endif()
    endforeach()
  endif()
  list(JOIN numbers . version)
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

# taper_import_nvidia_headers(NAME TARGET): TARGET, which adds NAME_INCLUDE_DIR and links nothing.
function(taper_import_nvidia_headers name target)
  if(NOT TARGET ${target})
    add_library(${target} INTERFACE IMPORTED)
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${${name}_INCLUDE_DIR})
  endif()
endfunction()
