# SPDX-License-Identifier: Apache-2.0
#
# Finds swiftc, says what to do when there is none or it is too old, and for a sanitized build chooses the clang of
# the same toolchain: its sanitizer runtime is the one that swiftc's code expects. Included before project().

set(BELAY_SWIFT_MINIMUM 6.2)

find_program(BELAY_SWIFTC NAMES swiftc
  PATHS /opt/swift/usr/bin /usr/libexec/swift/bin "$ENV{HOME}/.local/share/swiftly/bin"
  DOC "The Swift compiler; the core of Belay is written in Swift")
if(NOT BELAY_SWIFTC)
  message(FATAL_ERROR
    "Belay's core is written in Swift, and no swiftc was found.\n"
    "Install Swift ${BELAY_SWIFT_MINIMUM} or newer (https://swift.org/install) and put it on the PATH, or say where "
    "it is:\n    cmake -DBELAY_SWIFTC=/path/to/usr/bin/swiftc …\n"
    "It is needed to build Belay only; programs that use the library need libc and nothing else.")
endif()

execute_process(COMMAND "${BELAY_SWIFTC}" -print-target-info
  OUTPUT_VARIABLE _belay_swift_info ERROR_VARIABLE _belay_swift_error RESULT_VARIABLE _belay_swift_result)
if(NOT _belay_swift_result EQUAL 0)
  message(FATAL_ERROR "${BELAY_SWIFTC} does not run; reinstall Swift, or set BELAY_SWIFTC to one that does:\n"
    "${_belay_swift_error}")
endif()
string(JSON _belay_swift_version GET "${_belay_swift_info}" compilerVersion)
string(REGEX MATCH "Swift version ([0-9.]+)" _ "${_belay_swift_version}")
set(BELAY_SWIFT_VERSION "${CMAKE_MATCH_1}")
if(BELAY_SWIFT_VERSION VERSION_LESS BELAY_SWIFT_MINIMUM)
  message(FATAL_ERROR "Belay needs Swift ${BELAY_SWIFT_MINIMUM} or newer; ${BELAY_SWIFTC} is ${BELAY_SWIFT_VERSION}.\n"
    "Install a newer one (https://swift.org/install), or set BELAY_SWIFTC to it.")
endif()
string(JSON _belay_swift_resources GET "${_belay_swift_info}" paths runtimeResourcePath)
cmake_path(NORMAL_PATH _belay_swift_resources)
cmake_path(GET _belay_swift_resources PARENT_PATH _belay_swift_lib)
cmake_path(GET _belay_swift_lib PARENT_PATH _belay_swift_root)

if(BELAY_SANITIZE)
  if(NOT BELAY_SANITIZE MATCHES "^(address|thread|ordering)$")
    message(FATAL_ERROR "BELAY_SANITIZE is '${BELAY_SANITIZE}'; say address, thread or ordering, or leave it empty.")
  endif()
  find_program(BELAY_SANITIZE_CLANG clang HINTS "${_belay_swift_root}/bin" NO_DEFAULT_PATH
    DOC "The clang of the Swift toolchain")
  if(NOT BELAY_SANITIZE_CLANG)
    message(FATAL_ERROR "A sanitized build needs the clang of the Swift toolchain, in ${_belay_swift_root}/bin.\n"
      "Install the full toolchain (https://swift.org/install), or set BELAY_SANITIZE_CLANG to its clang.")
  endif()
  if(NOT CMAKE_C_COMPILER)
    set(CMAKE_C_COMPILER "${BELAY_SANITIZE_CLANG}")
  endif()
  if(NOT CMAKE_CXX_COMPILER AND EXISTS "${BELAY_SANITIZE_CLANG}++")
    set(CMAKE_CXX_COMPILER "${BELAY_SANITIZE_CLANG}++")
  endif()
  set(BELAY_SWIFT_RUNTIME "${_belay_swift_resources}/linux")
endif()
