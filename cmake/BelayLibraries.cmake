# SPDX-License-Identifier: Apache-2.0
#
# libbelay.a is Belay::belay, libbelay.so is Belay::belay_shared; both are made of the one object.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

add_library(belay_static STATIC "${BELAY_OBJECT}")
add_library(belay_shared SHARED "${BELAY_OBJECT}")
set_target_properties(belay_static PROPERTIES EXPORT_NAME belay)
set_target_properties(belay_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/belay.map")

foreach(_belay_library belay_static belay_shared)
  string(REPLACE "belay_static" "belay" _belay_alias ${_belay_library})
  add_library(Belay::${_belay_alias} ALIAS ${_belay_library})
  add_dependencies(${_belay_library} belay_object)
  set_target_properties(${_belay_library} PROPERTIES OUTPUT_NAME belay LINKER_LANGUAGE C)
  target_include_directories(${_belay_library} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
target_link_libraries(belay_static INTERFACE Threads::Threads)
target_link_libraries(belay_shared PRIVATE Threads::Threads)
target_link_options(belay_static INTERFACE $<BUILD_INTERFACE:${BELAY_SANITIZE_LINK_FLAGS}>)
target_link_options(belay_shared PRIVATE ${BELAY_SANITIZE_LINK_FLAGS} -Wl,--gc-sections -Wl,--as-needed
  -Wl,-z,nodelete # its threads may outlive a dlclose
  -Wl,-z,noseparate-code # no gaps of a page each in the file, between what is executed and what is only read
  "-Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/belay.map")
if(NOT BELAY_SANITIZE) # a sanitizer's runtime is in the program, not in the library
  target_link_options(belay_shared PRIVATE -Wl,-z,defs)
endif()
