# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

find_package(GTest REQUIRED)
include(GoogleTest)

# nestwalk_test(<name> <sources...>): a GoogleTest executable; each of its cases is a ctest.
# NESTWALK_TEST_LIBRARIES is what all tests of a folder link besides.
function(nestwalk_test name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE
    ${NESTWALK_TEST_LIBRARIES} nestwalk_warnings GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name} TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 600)
endfunction()
