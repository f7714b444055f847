# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

find_package(GTest REQUIRED)
include(GoogleTest)

# nestwalk_test(<name> [LONG] [APART] <sources...>): a GoogleTest executable; each of its cases is a
# ctest. With sanitizers, whose start takes longer than most cases, all of them are one ctest, unless
# the cases are to run APART; scripts/test counts the cases in the file that GoogleTest writes. Up to
# twelve sources are compiled as one: each has a namespace with the name of its file.
# NESTWALK_TEST_LIBRARIES is what all tests of a folder link besides; NESTWALK_TEST_HEADERS, in a folder
# of several tests, what most of them include, which is compiled once. Most tests take longer to compile
# than to run, so that only LONG ones are optimised, and none with sanitizers, which let them do less.
# LONG ones are started first, so that no processor is left to finish one.
function(nestwalk_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "LONG;APART" "" "")
  add_executable(${name} ${test_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE
    ${NESTWALK_TEST_LIBRARIES} nestwalk_warnings GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12)
  set(properties TIMEOUT 600)
  if(test_LONG)
    list(APPEND properties COST 10)
  endif()
  if(test_LONG AND NOT NESTWALK_SANITIZED)
    target_compile_options(${name} PRIVATE -O1)
  else()
    target_compile_options(${name} PRIVATE -O0)
    nestwalk_precompile(${name} ${NESTWALK_TEST_HEADERS})
  endif()
  if(NESTWALK_SANITIZED AND NOT test_APART)
    add_test(NAME ${name}.AllCases
      COMMAND ${name} --gtest_output=xml:${PROJECT_BINARY_DIR}/cases/${name}.xml)
    set_tests_properties(${name}.AllCases PROPERTIES ${properties})
    return()
  endif()
  gtest_discover_tests(${name} TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES ${properties})
endfunction()
