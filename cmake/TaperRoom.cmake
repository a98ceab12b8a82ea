# One static library per room. Headers are included as <taper/ROOM/...>: the build tree has
# a link include/taper/ROOM -> source folder, the install tree the folder itself.

file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include/taper)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/taper.h ${PROJECT_BINARY_DIR}/include/taper/taper.h SYMBOLIC)
configure_file(${CMAKE_CURRENT_LIST_DIR}/version.h.in ${PROJECT_BINARY_DIR}/include/taper/version.h @ONLY)

# taper_compile_kernels(FILE.cu...): with the simulated GPU, .cu files are C++ for the host compiler; with CUDA, nvcc's.
function(taper_compile_kernels)
  if(TAPER_GPU STREQUAL "sim")
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++;-Wno-unknown-pragmas")
    if(TAPER_SIM_RACES)
      set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS ${TAPER_RACE_FLAGS})
      set_source_files_properties(${ARGN} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endif()
endfunction()

# taper_room(NAME [PUBLIC lib...] [PRIVATE lib...]): every .cpp and .cu below the current folder that the GPU of
# this build can use.
function(taper_room name)
  cmake_parse_arguments(ROOM "" "" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cpp)
  file(GLOB_RECURSE kernels CONFIGURE_DEPENDS *.cu)
  if(TAPER_GPU STREQUAL "sim")
    list(FILTER sources EXCLUDE REGEX "/cuda_[^/]*\\.cpp$|_(cudnn|cublas|cublaslt|nccl|cupti)\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "/gpu/sim/")
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
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/include/taper/${name} SYMBOLIC)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ROOM_PUBLIC} PRIVATE ${ROOM_PRIVATE} $<BUILD_INTERFACE:taper_build_flags>)
endfunction()
