# SPDX-License-Identifier: Apache-2.0
#
# Writes which symbols of an object to rename, so that a call of belay_* comes to the function itself:
#
#     cmake -DOBJDUMP=… -DOBJECT=… -DRENAMES=… -P BelayEntries.cmake
#
# Swift makes two functions of each that C may call: the function, with a name of its own, and one with the C name that
# jumps there. Where it does nothing but jump, both are called alike, so the function may have the C name; a jump less on
# each call is a thirtieth of the hot ones. What does more (a result that has to be converted) stays as it is.
# Run as a script, by cmake/BelayCore.cmake.
cmake_minimum_required(VERSION 3.25...4.0)

execute_process(COMMAND "${OBJDUMP}" -dr --no-show-raw-insn "${OBJECT}" OUTPUT_VARIABLE _listing
  RESULT_VARIABLE _failure)
if(_failure)
  message(FATAL_ERROR "${OBJDUMP} could not read ${OBJECT}")
endif()
# An entry, its one instruction, and where that goes.
set(_entry "<(belay_[a-z0-9_]+)>:\n +0:\t(jmp|b) [^\n]*\n[^\n]*: R_(X86_64_PLT32|AARCH64_JUMP26)\t([^\n+-]+)[^\n]*\n\n")
string(REGEX MATCHALL "${_entry}" _entries "${_listing}")
set(_renames "")
set(_taken "")
foreach(_each IN LISTS _entries)
  string(REGEX MATCH "${_entry}" _ "${_each}")
  set(_name "${CMAKE_MATCH_1}")
  set(_function "${CMAKE_MATCH_4}")
  if(_function IN_LIST _taken) # two entries for one function, if the compiler finds them to be the same
    continue()
  endif()
  list(APPEND _taken "${_function}")
  string(APPEND _renames "${_name} entry.${_name}\n${_function} ${_name}\n")
endforeach()
file(WRITE "${RENAMES}" "${_renames}")
