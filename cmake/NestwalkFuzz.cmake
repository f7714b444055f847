# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# libFuzzer looks for inputs that reach new code. It comes with clang's sanitizers.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_FLAGS MATCHES "fsanitize=address")
  set(NESTWALK_FUZZ ON)
endif()

# nestwalk_fuzzed(<library>): a fuzzer is told which code of it was reached.
function(nestwalk_fuzzed library)
  if(NESTWALK_FUZZ)
    target_compile_options(${library} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# nestwalk_fuzz(<name> <seconds> <largest input> <libraries...>): a fuzzer from <name>.cpp whose first
# inputs are in the folder <name>_corpus, and a ctest that lets it run. New inputs go to the build
# folder; the corpus is only read.
function(nestwalk_fuzz name seconds largest)
  if(NOT NESTWALK_FUZZ)
    return()
  endif()
  add_executable(${name} ${name}.cpp)
  target_link_libraries(${name} PRIVATE ${ARGN} nestwalk_warnings)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}_found)
  file(MAKE_DIRECTORY ${found})
  add_test(NAME ${name}.NothingCrashes
    COMMAND ${name} -max_total_time=${seconds} -timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=256
      -max_len=${largest} -print_final_stats=1 ${found} ${CMAKE_CURRENT_SOURCE_DIR}/${name}_corpus)
  set_tests_properties(${name}.NothingCrashes PROPERTIES TIMEOUT 600)
endfunction()
