# `cmake --install`: the rooms' static libraries, their headers, and the CMake package that
# find_package(Taper) finds. tests/consumer uses exactly that.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(taper_rooms core ops autograd nn)
set(taper_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Taper)

list(TRANSFORM taper_rooms PREPEND taper_ OUTPUT_VARIABLE taper_libraries)
install(TARGETS taper ${taper_libraries} EXPORT TaperTargets)

# As in taper_room: headers for a GPU or library that this build lacks would compile for nobody.
set(taper_foreign_headers PATTERN "mpi" EXCLUDE)
if(TAPER_GPU STREQUAL "sim")
  list(APPEND taper_foreign_headers PATTERN "cuda" EXCLUDE)
endif()
if(NOT TAPER_HAVE_CUDNN)
  list(APPEND taper_foreign_headers PATTERN "cudnn" EXCLUDE)
endif()
foreach(room ${taper_rooms})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/taper COMPONENT headers
          FILES_MATCHING PATTERN "*.h" PATTERN "*.cuh" ${taper_foreign_headers})
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/taper.h ${PROJECT_BINARY_DIR}/include/taper/version.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/taper COMPONENT headers)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY_NOTICES.md
              ${PROJECT_SOURCE_DIR}/nn/data/digits.LICENSE.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(EXPORT TaperTargets NAMESPACE Taper:: DESTINATION ${taper_package_dir})
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/TaperConfig.cmake.in ${PROJECT_BINARY_DIR}/TaperConfig.cmake
  INSTALL_DESTINATION ${taper_package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/TaperConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/TaperConfig.cmake ${PROJECT_BINARY_DIR}/TaperConfigVersion.cmake
        DESTINATION ${taper_package_dir})
