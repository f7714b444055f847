# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# SystemC::systemc, from SystemC's own CMake package or else from wherever its header and library
# are. The library answers only to programs that claim the C++ standard that it was built with
# (Debian's 2.3.4: C++17); which one that is, is tried out, and claimed.

include(FindPackageHandleStandardArgs)

find_package(SystemCLanguage CONFIG QUIET)
if(TARGET SystemC::systemc)
  find_package_handle_standard_args(SystemC DEFAULT_MSG SystemCLanguage_DIR)
  return()
endif()

find_package(Threads REQUIRED)
find_path(SystemC_INCLUDE_DIR systemc)
find_library(SystemC_LIBRARY systemc)
mark_as_advanced(SystemC_INCLUDE_DIR SystemC_LIBRARY)

if(SystemC_INCLUDE_DIR AND SystemC_LIBRARY AND NOT SystemC_CPLUSPLUS)
  set(probe ${CMAKE_BINARY_DIR}/CMakeFiles/systemc_probe.cpp)
  file(WRITE ${probe} "#include <systemc>\nint sc_main(int, char**) { return 0; }\n")
  foreach(standard 201703L 202002L 201402L 201103L)
    try_compile(works ${CMAKE_BINARY_DIR}/CMakeFiles/systemc_probe ${probe}
      CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${SystemC_INCLUDE_DIR}
      COMPILE_DEFINITIONS -DSC_CPLUSPLUS=${standard}
      LINK_LIBRARIES ${SystemC_LIBRARY} Threads::Threads
      CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
    if(works)
      set(SystemC_CPLUSPLUS ${standard} CACHE INTERNAL "The C++ standard that SystemC was built with")
      break()
    endif()
  endforeach()
endif()

find_package_handle_standard_args(SystemC
  DEFAULT_MSG SystemC_LIBRARY SystemC_INCLUDE_DIR SystemC_CPLUSPLUS)
if(SystemC_FOUND)
  add_library(SystemC::systemc UNKNOWN IMPORTED)
  set_target_properties(SystemC::systemc PROPERTIES
    IMPORTED_LOCATION ${SystemC_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${SystemC_INCLUDE_DIR}
    INTERFACE_COMPILE_DEFINITIONS SC_CPLUSPLUS=${SystemC_CPLUSPLUS}
    INTERFACE_LINK_LIBRARIES Threads::Threads)
endif()
