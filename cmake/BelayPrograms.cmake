# SPDX-License-Identifier: Apache-2.0
#
# The programs: each of cexamples/*.c and Tests/c/test_*.c is one, and a ctest of the same name. Those in C++ are built
# as C++11, and the tests also as C++20, if there is a compiler.

set(BELAY_TEST_TIMEOUT 600 CACHE STRING "Seconds after which ctest gives a test up")

function(belay_program source)
  cmake_path(GET source STEM name)
  add_executable(${name} "${source}")
  target_link_libraries(${name} PRIVATE Belay::belay belay_settings)
  set_target_properties(${name} PROPERTIES C_EXTENSIONS ON)
endfunction()

function(belay_test name label)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${BELAY_TEST_TIMEOUT})
  if(CMAKE_CROSSCOMPILING) # for those that start themselves once more
    list(GET CMAKE_CROSSCOMPILING_EMULATOR 0 _belay_emulator)
    set_tests_properties(${name} PROPERTIES
      ENVIRONMENT "BELAY_TEST_EMULATOR=${_belay_emulator};QEMU_LD_PREFIX=${CMAKE_FIND_ROOT_PATH}")
  endif()
endfunction()

# Examples that show Belay beside another library are built where that library is: EXAMPLE PACKAGE.
function(belay_example_beside name package)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(BELAY_BESIDE_${name} QUIET IMPORTED_TARGET ${package})
  endif()
  if(NOT BELAY_BESIDE_${name}_FOUND)
    message(STATUS "${package} is not installed: cexamples/${name}.c is left out")
    return()
  endif()
  belay_program("${PROJECT_SOURCE_DIR}/cexamples/${name}.c")
  add_dependencies(belay_examples ${name})
  target_link_libraries(${name} PRIVATE PkgConfig::BELAY_BESIDE_${name})
  belay_test(${name} example)
endfunction()

function(belay_cxx_program name source standard)
  add_executable(${name} "${source}")
  target_link_libraries(${name} PRIVATE Belay::belay belay_settings)
  set_target_properties(${name} PROPERTIES CXX_STANDARD ${standard} CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
endfunction()

if(BELAY_BUILD_EXAMPLES)
  add_custom_target(belay_examples)
  file(GLOB _belay_examples CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cexamples/*.c")
  list(FILTER _belay_examples EXCLUDE REGEX "/(libuv_loop|glib_parent)\\.c$")
  belay_example_beside(libuv_loop libuv)
  belay_example_beside(glib_parent gio-2.0)
  set(_belay_not_by_ctest server) # scripts/demo drives it
  if(BELAY_SANITIZE STREQUAL "thread")
    # The sanitizer puts a signal from elsewhere off until the thread calls libc in a way that it knows: one that waits for
    # a group does not.
    list(APPEND _belay_not_by_ctest tour)
  endif()
  foreach(_belay_source IN LISTS _belay_examples)
    belay_program("${_belay_source}")
    cmake_path(GET _belay_source STEM _belay_name)
    add_dependencies(belay_examples ${_belay_name})
    if(NOT _belay_name IN_LIST _belay_not_by_ctest)
      belay_test(${_belay_name} example)
    endif()
  endforeach()
  if(BELAY_HAS_CXX)
    belay_cxx_program(cpp "${PROJECT_SOURCE_DIR}/cexamples/cpp.cpp" 11)
    add_dependencies(belay_examples cpp)
    belay_test(cpp example)
  endif()
endif()

if(BELAY_BUILD_TESTS)
  file(GLOB _belay_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/Tests/c/test_*.c")
  if(BELAY_SANITIZE) # a sanitized library cannot be loaded later
    list(FILTER _belay_tests EXCLUDE REGEX test_dlopen)
  endif()
  foreach(_belay_source IN LISTS _belay_tests)
    belay_program("${_belay_source}")
    cmake_path(GET _belay_source STEM _belay_name)
    belay_test(${_belay_name} test)
  endforeach()

  if(BELAY_HAS_CXX)
    belay_cxx_program(test_cpp "${PROJECT_SOURCE_DIR}/Tests/cpp/test_cpp.cpp" 11)
    belay_test(test_cpp test)
    belay_cxx_program(test_cpp20 "${PROJECT_SOURCE_DIR}/Tests/cpp/test_cpp.cpp" 20)
    belay_test(test_cpp20 test)
    belay_cxx_program(test_cpp23 "${PROJECT_SOURCE_DIR}/Tests/cpp/test_cpp.cpp" 23)
    target_compile_options(test_cpp23 PRIVATE -fno-exceptions -fno-rtti)
    belay_test(test_cpp23 test)
  endif()

  if(TARGET test_dlopen)
    add_dependencies(test_dlopen belay_shared)
    target_compile_definitions(test_dlopen PRIVATE "BELAY_LIBRARY=\"$<TARGET_FILE:belay_shared>\"")
    target_link_libraries(test_dlopen PRIVATE ${CMAKE_DL_LIBS})
  endif()

  if(BELAY_SANITIZE STREQUAL "ordering")
    belay_program("${PROJECT_SOURCE_DIR}/Tests/ordering/test_ordering.c")
    belay_test(test_ordering test)
  endif()

  # A program with the normal Swift runtime, which is this machine's, that links libbelay.a.
  if(CMAKE_CROSSCOMPILING OR BELAY_SANITIZE STREQUAL "ordering")
    return()
  endif()
  set(_belay_source "${PROJECT_SOURCE_DIR}/Tests/c/test_normal_swift.swift")
  set(_belay_program "${CMAKE_CURRENT_BINARY_DIR}/test_normal_swift")
  add_custom_command(OUTPUT "${_belay_program}"
    COMMAND "${BELAY_SWIFTC}" -swift-version 6 -parse-as-library -O -g -I "${PROJECT_SOURCE_DIR}/include"
      -module-cache-path "${CMAKE_CURRENT_BINARY_DIR}/swift-modules"
      $<$<BOOL:${BELAY_SANITIZE}>:-sanitize=${BELAY_SANITIZE}$<SEMICOLON>-use-ld=lld>
      "${_belay_source}" "$<TARGET_FILE:belay_static>" -o "${_belay_program}"
    DEPENDS "${_belay_source}" belay_static
    COMMENT "Compiling test_normal_swift" COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(normal_swift ALL DEPENDS "${_belay_program}")
  add_test(NAME test_normal_swift COMMAND "${_belay_program}")
  set_tests_properties(test_normal_swift PROPERTIES LABELS test TIMEOUT ${BELAY_TEST_TIMEOUT})
endif()
