# taper_kernel_report(TARGET...): with TAPER_GPU=cuda, makes the build write the registers, shared memory and spills of
# every kernel in the targets to kernel_report.txt of the build folder. A spill that cmake/allowed_spills.txt does not
# explain fails the build. scripts/kernel_report.py does the work.
function(taper_kernel_report)
  if(NOT TAPER_GPU STREQUAL "cuda")
    return()
  endif()
  set(objects "")
  foreach(target ${ARGN})
    list(APPEND objects $<TARGET_OBJECTS:${target}>)
  endforeach()
  set(list ${PROJECT_BINARY_DIR}/kernel_objects.txt)
  file(GENERATE OUTPUT ${list} CONTENT "$<JOIN:${objects},\n>\n")
  set(script ${PROJECT_SOURCE_DIR}/scripts/kernel_report.py)
  set(allowed ${PROJECT_SOURCE_DIR}/cmake/allowed_spills.txt)
  set(done ${PROJECT_BINARY_DIR}/kernel_report.done) # apart from the report, which is written even if it fails
  add_custom_command(
    OUTPUT ${done}
    COMMAND Python3::Interpreter ${script} --allow ${allowed} --out ${PROJECT_BINARY_DIR}/kernel_report.txt @${list}
    COMMAND ${CMAKE_COMMAND} -E touch ${done}
    DEPENDS ${ARGN} ${script} ${allowed} ${list}
    COMMENT "Kernel report" VERBATIM)
  add_custom_target(kernel_report ALL DEPENDS ${done})
endfunction()
