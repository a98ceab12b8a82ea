# One static library per room. Headers are included as <taper/ROOM/...>: the source tree has links
# include/taper/ROOM -> ROOM, the install tree the folders themselves. taper/version.h is made here.

configure_file(${CMAKE_CURRENT_LIST_DIR}/version.h.in ${PROJECT_BINARY_DIR}/include/taper/version.h @ONLY)

# taper_compile_kernels(FILE.cu...): with the simulated GPU, .cu files are C++ for the host compiler; with CUDA, nvcc's.
function(taper_compile_kernels)
  if(TAPER_GPU STREQUAL "sim")
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++;-Wno-unknown-pragmas;${TAPER_ALIGNMENT_FLAGS}")
    if(TAPER_SIM_RACES)
      set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS ${TAPER_RACE_FLAGS})
      set_source_files_properties(${ARGN} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endif()
endfunction()

# taper_room(NAME [PUBLIC lib...] [PRIVATE lib...]): every .cpp and .cu below the current folder that the GPU of this build
# can use. Folders say what needs what: cuda/ CUDA, sim/ the simulated GPU, cublaslt/, cudnn/ and nccl/ those libraries.
function(taper_room name)
  cmake_parse_arguments(ROOM "" "" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS *.cpp)
  file(GLOB_RECURSE kernels CONFIGURE_DEPENDS *.cu)
  if(TAPER_GPU STREQUAL "sim")
    list(FILTER sources EXCLUDE REGEX "(^|/)(cuda|cublaslt|cudnn|nccl)/")
  else()
    list(FILTER sources EXCLUDE REGEX "(^|/)sim/")
    foreach(library CUBLASLT CUDNN NCCL)
      if(NOT TAPER_HAVE_${library})
        string(TOLOWER ${library} folder)
        list(FILTER sources EXCLUDE REGEX "(^|/)${folder}/")
      endif()
    endforeach()
  endif()
  taper_compile_kernels(${kernels})
  list(APPEND sources ${kernels})
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS *.h *.cuh)
  set(target taper_${name})
  if(NOT sources)
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${ROOM_PUBLIC})
    return()
  endif()
  add_library(${target} STATIC ${sources} ${headers})
  add_library(Taper::${target} ALIAS ${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ROOM_PUBLIC} PRIVATE ${ROOM_PRIVATE} $<BUILD_INTERFACE:taper_build_flags>)
endfunction()
