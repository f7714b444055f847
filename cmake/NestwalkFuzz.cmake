# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# libFuzzer looks for inputs that reach new code. It comes with clang's sanitizers; any other build
# runs the inputs of the corpora, each once.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_FLAGS MATCHES "fsanitize=address")
  set(NESTWALK_FUZZ ON)
endif()
if(NESTWALK_BUILD_TESTS AND NOT NESTWALK_FUZZ)
  add_library(nestwalk_fuzz_replay STATIC ${CMAKE_CURRENT_LIST_DIR}/fuzz_replay.cpp)
  target_compile_options(nestwalk_fuzz_replay PRIVATE -O0)
  target_compile_features(nestwalk_fuzz_replay PRIVATE cxx_std_20)
  target_link_libraries(nestwalk_fuzz_replay PRIVATE nestwalk_warnings)
endif()

# nestwalk_fuzzed(<target>): fuzzers learn which of its code was reached. Only of readers: a simulation
# would be slower.
function(nestwalk_fuzzed target)
  if(NESTWALK_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# nestwalk_fuzz(<name> <corpus> <runs> <largest input> <libraries...>): a fuzzer from <name>.cpp whose
# first inputs are in the folder <corpus>, and a ctest that lets it run so often. New inputs go to the
# build folder; the corpus is only read.
function(nestwalk_fuzz name corpus runs largest)
  add_executable(${name} ${name}.cpp)
  target_link_libraries(${name} PRIVATE ${ARGN} nestwalk_warnings)
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/${corpus})
  if(NESTWALK_FUZZ)
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}_found)
    file(MAKE_DIRECTORY ${found})
    add_test(NAME ${name}.NothingCrashes
      COMMAND ${name} -runs=${runs} -max_total_time=20 -timeout=20 -rss_limit_mb=1024
        -malloc_limit_mb=256 -max_len=${largest} -print_final_stats=1 ${found} ${corpus})
  else()
    target_compile_options(${name} PRIVATE -O0)
    target_link_libraries(${name} PRIVATE nestwalk_fuzz_replay)
    add_test(NAME ${name}.NothingCrashes COMMAND ${name} ${corpus})
  endif()
  set_tests_properties(${name}.NothingCrashes PROPERTIES TIMEOUT 600)
endfunction()
