# SPDX-License-Identifier: Apache-2.0
#
# What all our targets share: the build type, the warnings, the sanitizer; and that the versions agree.

file(STRINGS "${PROJECT_SOURCE_DIR}/include/belay.h" _belay_version_line REGEX "^#define BELAY_VERSION \"")
string(REGEX MATCH "\"(.*)\"" _ "${_belay_version_line}")
if(NOT CMAKE_MATCH_1 STREQUAL PROJECT_VERSION)
  message(FATAL_ERROR "include/belay.h is version '${CMAKE_MATCH_1}', CMakeLists.txt is '${PROJECT_VERSION}': "
    "set both to the same.")
endif()

get_property(_belay_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(PROJECT_IS_TOP_LEVEL AND NOT _belay_multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo, MinSizeRel or Debug" FORCE)
endif()

# Warnings of our own C, and of nobody else's.
add_library(belay_settings INTERFACE)
target_compile_features(belay_settings INTERFACE c_std_11)
target_compile_options(belay_settings INTERFACE -Wall -Wextra -Wpedantic $<$<BOOL:${BELAY_WERROR}>:-Werror> -g)
set(BELAY_SANITIZE_FLAGS "")
set(BELAY_SANITIZE_LINK_FLAGS "")
if(BELAY_SANITIZE STREQUAL "address")
  set(BELAY_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all)
  set(BELAY_SANITIZE_LINK_FLAGS ${BELAY_SANITIZE_FLAGS})
elseif(BELAY_SANITIZE STREQUAL "thread")
  set(BELAY_SANITIZE_FLAGS -fsanitize=thread)
  # The thread sanitizer of Swift's clang knows libdispatch, and so asks for it.
  set(BELAY_SANITIZE_LINK_FLAGS ${BELAY_SANITIZE_FLAGS}
    "-L${BELAY_SWIFT_RUNTIME}" "-Wl,-rpath,${BELAY_SWIFT_RUNTIME}" -ldispatch -lBlocksRuntime)
elseif(BELAY_SANITIZE STREQUAL "ordering")
  # Instrumented as for the thread sanitizer, and linked with what we have in place of its runtime.
  set(BELAY_SANITIZE_FLAGS -fsanitize=thread)
  file(GLOB _belay_ordering CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/Tests/ordering/runtime/*.c")
  add_library(belay_ordering STATIC ${_belay_ordering})
  target_compile_options(belay_ordering PRIVATE -Wall -Wextra -Wpedantic $<$<BOOL:${BELAY_WERROR}>:-Werror> -O2 -g)
  target_link_libraries(belay_settings INTERFACE belay_ordering ${CMAKE_DL_LIBS})
endif()
if(BELAY_SANITIZE)
  list(APPEND BELAY_SANITIZE_FLAGS -fno-omit-frame-pointer)
  list(APPEND BELAY_SANITIZE_LINK_FLAGS -fuse-ld=lld)
endif()
target_compile_options(belay_settings INTERFACE ${BELAY_SANITIZE_FLAGS})
target_link_options(belay_settings INTERFACE ${BELAY_SANITIZE_LINK_FLAGS})
