# Third-party libraries, all from Debian packages (scripts/setup.sh installs them).

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
if(TAPER_GPU STREQUAL "sim")
  find_package(Boost REQUIRED COMPONENTS context) # the fibers of the simulated GPU
else()
  find_package(CUDAToolkit REQUIRED)
endif()
if(TAPER_BUILD_PROGRAMS)
  find_package(CLI11 REQUIRED)
  find_package(Catch2 2.13 REQUIRED)
  find_package(benchmark REQUIRED)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
endif()
