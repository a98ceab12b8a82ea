# CPU kernels: files *_cpu.cpp and those in folders cpu/. A build for one CPU (TAPER_MARCH) compiles them once, like all
# other code. Any other build for x86-64 compiles them once for each level of vectors, and the program chooses when it runs
# (core/base/cpu_level.h, ops/cpu_levels/).
#
# Every file that uses an inline function or a template has a copy of it, and the linker keeps one of the copies. One that
# was compiled for AVX-512 must not become what the rest of the program calls. So the files of a level are joined to one
# object file, in which all symbols are local but that of the table of kernels.

set(TAPER_CPU_LEVELS)
if(NOT TAPER_MARCH AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(TAPER_CPU_LEVELS baseline avx2 avx512)
endif()
set(taper_baseline_flags)
set(taper_avx2_flags -march=x86-64-v3)
set(taper_avx512_flags -march=x86-64-v4)

# Folders SET/ in cpu/ need more than AVX-512. Their files are compiled for the level avx512 alone, with these flags; in a
# build for one CPU, if that CPU has the set. Their callers see by TAPER_HAVE_SET, always 0 or 1, whether they are there,
# and by cpu_level() whether they may run.
set(taper_cpu_sets avx512bf16 amx)
set(taper_avx512bf16_flags -mavx512bf16)
set(taper_amx_flags -mavx512bf16 -mamx-tile -mamx-bf16)
set(taper_cpu_sets_macros __AVX512BF16__ __AMX_BF16__)

include(CheckCXXSourceCompiles)
foreach(set macro IN ZIP_LISTS taper_cpu_sets taper_cpu_sets_macros)
  set(CMAKE_REQUIRED_FLAGS "")
  if(TAPER_CPU_LEVELS)
    list(JOIN taper_${set}_flags " " CMAKE_REQUIRED_FLAGS)
  elseif(TAPER_MARCH)
    set(CMAKE_REQUIRED_FLAGS -march=${TAPER_MARCH})
  endif()
  string(TOUPPER TAPER_HAVE_${set} have)
  unset(${have} CACHE) # TAPER_MARCH may have changed
  check_cxx_source_compiles("#ifndef ${macro}\n#error\n#endif\nint main() {}" ${have})
endforeach()
unset(CMAKE_REQUIRED_FLAGS)

# taper_define_cpu_sets(TARGET ON): TAPER_HAVE_SET for the kernels in TARGET; 0 unless ON.
function(taper_define_cpu_sets target on)
  foreach(set ${taper_cpu_sets})
    string(TOUPPER TAPER_HAVE_${set} have)
    target_compile_definitions(${target} PRIVATE ${have}=$<AND:${on},$<BOOL:${${have}}>>)
  endforeach()
endfunction()

# taper_cpu_kernels(TARGET KERNELS [LIBRARY...]): adds the files KERNELS to TARGET, compiled with the LIBRARYs.
function(taper_cpu_kernels target kernels)
  foreach(set ${taper_cpu_sets})
    set(files ${kernels})
    list(FILTER files INCLUDE REGEX "/${set}/")
    string(TOUPPER TAPER_HAVE_${set} have)
    if(NOT ${have})
      list(REMOVE_ITEM kernels ${files})
    elseif(TAPER_CPU_LEVELS)
      set_source_files_properties(${files} PROPERTIES COMPILE_OPTIONS "${taper_${set}_flags}" SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
  endforeach()
  if(NOT TAPER_CPU_LEVELS)
    target_sources(${target} PRIVATE ${kernels})
    taper_define_cpu_sets(${target} 1)
    return()
  endif()
  foreach(level ${TAPER_CPU_LEVELS})
    set(files ${kernels})
    if(NOT level STREQUAL "avx512")
      list(FILTER files EXCLUDE REGEX "/(avx512bf16|amx)/")
    endif()
    set(compiled ${target}_${level})
    add_library(${compiled} OBJECT ${files})
    target_link_libraries(${compiled} PRIVATE ${ARGN} taper_build_flags)
    target_compile_options(${compiled} PRIVATE ${taper_${level}_flags} -fno-gnu-unique)
    target_compile_definitions(${compiled} PRIVATE TAPER_CPU_KERNELS=taper_cpu_kernels_${level})
    taper_define_cpu_sets(${compiled} $<STREQUAL:${level},avx512>)
    set(joined ${CMAKE_CURRENT_BINARY_DIR}/cpu_kernels_${level}.o)
    add_custom_command(
      OUTPUT ${joined}
      COMMAND ${CMAKE_CXX_COMPILER} -r -nostdlib -Wl,--force-group-allocation -o ${joined} $<TARGET_OBJECTS:${compiled}>
      COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=taper_cpu_kernels_${level} ${joined}
      DEPENDS $<TARGET_OBJECTS:${compiled}> COMMAND_EXPAND_LISTS VERBATIM)
    target_sources(${target} PRIVATE ${joined})
  endforeach()
endfunction()
