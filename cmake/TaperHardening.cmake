# TAPER_HARDENING: what makes a memory fault hard to exploit. Canaries on the stack; copies and prints that check their
# buffers (_FORTIFY_SOURCE); programs at addresses that differ from run to run (PIE), whose tables of library functions
# are filled at the start and are read-only from then on (BIND_NOW, RELRO). tests/hardening_test.py reads all of it back
# from the programs. Sanitizers find more, but do not know the functions of _FORTIFY_SOURCE, so their builds go without.
option(TAPER_HARDENING "Stack protector, _FORTIFY_SOURCE, RELRO and BIND_NOW; not in builds with sanitizers" ON)
if(TAPER_SANITIZE OR TAPER_SIM_RACES)
  set(TAPER_HARDENING OFF)
endif()
if(NOT TAPER_HARDENING)
  return()
endif()

include(CheckPIESupported)
check_pie_supported(LANGUAGES CXX) # CMAKE_POSITION_INDEPENDENT_CODE now passes -pie, too

set(taper_hardening_flags -fstack-protector-strong)
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug") # _FORTIFY_SOURCE needs an optimiser
  # Level 3 also checks buffers whose size is known only when the program runs; GCC 11 cannot.
  set(level 3)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
    set(level 2)
  endif()
  # Where a level is the compiler's default, another is a warning, hence the -U.
  list(APPEND taper_hardening_flags -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${level})
endif()
list(TRANSFORM taper_hardening_flags PREPEND -Xcompiler= OUTPUT_VARIABLE taper_cuda_hardening_flags)
target_compile_options(taper_build_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${taper_hardening_flags}>" "$<$<COMPILE_LANGUAGE:CUDA>:${taper_cuda_hardening_flags}>")
target_link_options(taper_build_flags INTERFACE LINKER:-z,relro,-z,now)
