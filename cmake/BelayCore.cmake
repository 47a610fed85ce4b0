# SPDX-License-Identifier: Apache-2.0
#
# The core as one relocatable object, ${BELAY_OBJECT}, whose only global names are belay_*:
#
#     Sources/BelayCore/**/*.swift ── swiftc, Embedded ──┐
#                                                        ├── ld -r ── objcopy ── belay.o
#     Sources/CBelay/*.c ──────────── cc ────────────────┘
#
# On the way functions get the names that C calls them by, and hot ones their place (BelayEntries.cmake).
#
# The names have to be localised: Embedded Swift leaves weak definitions of swift_retain and its kin in the object, and
# in a program that has the normal Swift runtime those would take its place.

file(GLOB_RECURSE _belay_swift CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/Sources/BelayCore/*.swift")
file(GLOB _belay_c CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/Sources/CBelay/*.c")
file(GLOB _belay_headers CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/include/*.h" "${PROJECT_SOURCE_DIR}/include/module.modulemap"
  "${PROJECT_SOURCE_DIR}/Sources/CBelay/*.h")
if(NOT _belay_swift)
  message(FATAL_ERROR "No Swift files in ${PROJECT_SOURCE_DIR}/Sources/BelayCore: is the checkout complete?")
endif()

# For size: most of the core is cold, and what is hot says itself what is to be inlined. It takes a fifth less than with
# -O, and the hot operations take 1 to 5 % more instructions. Sections by function let a program's own linker leave out
# what it does not use (--gc-sections). With tables to unwind the stack, which are not usual everywhere: debuggers and our
# profiles go by them.
set(_belay_swift_flags
  ${BELAY_SWIFT_TARGET} # where it is not this machine: see aarch64-linux-gnu.cmake
  -enable-experimental-feature Embedded -wmo -parse-as-library -swift-version 6
  -enforce-exclusivity=unchecked -Xfrontend -function-sections -Xcc -fasynchronous-unwind-tables
  $<IF:$<CONFIG:Debug>,-Onone,-Osize> -g
  -module-name BelayCore -I "${PROJECT_SOURCE_DIR}/include"
  -module-cache-path "${CMAKE_CURRENT_BINARY_DIR}/swift-modules"
  $<$<NOT:$<BOOL:${BELAY_COUNTERS}>>:-DBELAY_NO_COUNTERS>
  $<$<BOOL:${BELAY_SANITIZE}>:-sanitize=$<IF:$<STREQUAL:${BELAY_SANITIZE},address>,address,thread>>)
set(_belay_swift_object "${CMAKE_CURRENT_BINARY_DIR}/belay-swift.o")
add_custom_command(OUTPUT "${_belay_swift_object}"
  COMMAND "${BELAY_SWIFTC}" ${_belay_swift_flags} -c ${_belay_swift} -o "${_belay_swift_object}"
  DEPENDS ${_belay_swift} ${_belay_headers}
  COMMENT "Compiling the Swift core"
  COMMAND_EXPAND_LISTS VERBATIM)

add_library(belay_c OBJECT ${_belay_c})
target_include_directories(belay_c PRIVATE "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(belay_c PRIVATE belay_settings)
target_compile_options(belay_c PRIVATE $<$<NOT:$<CONFIG:Debug>>:-Os>) # nothing in it is hot
set_target_properties(belay_c PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)

set(_belay_keep "--keep-global-symbol=belay_*")
if(BELAY_SANITIZE STREQUAL "address") # one for the whole program, or its globals are registered twice
  list(APPEND _belay_keep "--keep-global-symbol=___asan_globals_registered")
endif()
# An index of debug information that covers the Swift half alone hides the rest from gdb.
set(_belay_remove --remove-section=.debug_names --remove-section=.rela.debug_names)
set(BELAY_OBJECT "${CMAKE_CURRENT_BINARY_DIR}/belay.o")
set(_belay_merged "${CMAKE_CURRENT_BINARY_DIR}/belay-merged.o")
set(_belay_options "${CMAKE_CURRENT_BINARY_DIR}/belay-objcopy.txt")
set(_belay_entries "${PROJECT_SOURCE_DIR}/cmake/BelayEntries.cmake")
add_custom_command(OUTPUT "${BELAY_OBJECT}" BYPRODUCTS "${_belay_merged}" "${_belay_options}"
  COMMAND "${CMAKE_LINKER}" -r -o "${_belay_merged}" "${_belay_swift_object}" $<TARGET_OBJECTS:belay_c>
  COMMAND "${CMAKE_COMMAND}" "-DOBJDUMP=${CMAKE_OBJDUMP}" "-DOBJECT=${_belay_merged}" "-DOPTIONS=${_belay_options}"
    -P "${_belay_entries}"
  COMMAND "${CMAKE_OBJCOPY}" "@${_belay_options}" "${_belay_merged}"
  COMMAND "${CMAKE_OBJCOPY}" --wildcard ${_belay_keep} ${_belay_remove} "${_belay_merged}" "${BELAY_OBJECT}"
  DEPENDS "${_belay_swift_object}" belay_c $<TARGET_OBJECTS:belay_c> "${_belay_entries}"
  COMMENT "Merging the core into one object"
  COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(belay_object DEPENDS "${BELAY_OBJECT}")
set_source_files_properties("${BELAY_OBJECT}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
