# SPDX-License-Identifier: Apache-2.0
#
# The command-line tools, each one file of Tools/; installed beside the library.

add_executable(belay-budget "${PROJECT_SOURCE_DIR}/Tools/belay-budget.c")
target_link_libraries(belay-budget PRIVATE Belay::belay belay_settings)
set_target_properties(belay-budget PROPERTIES C_EXTENSIONS ON)
if(BELAY_INSTALL)
  install(TARGETS belay-budget)
endif()
if(BELAY_BUILD_TESTS)
  add_test(NAME belay-budget COMMAND belay-budget --quick --json --requests 100)
  set_tests_properties(belay-budget PROPERTIES LABELS tool TIMEOUT 600
    PASS_REGULAR_EXPRESSION "\"ns_per_request\": [0-9.]+, \"heap_bytes_per_request\": 0.0, \"arena_bytes_per_request\": 128")
endif()
