# SPDX-License-Identifier: Apache-2.0
#
# Writes what objcopy is to change in an object, so that a call of belay_* comes to the function itself, and a hot one
# stands at the start of a cache line:
#
#     cmake -DOBJDUMP=… -DOBJECT=… -DOPTIONS=… [-DPREFIX=belay] -P BelayEntries.cmake && objcopy @OPTIONS …
#
# Swift makes two functions of each that C may call: the function, with a name of its own, and one with the C name that
# jumps there. Where it does nothing but jump, both are called alike, so the function may have the C name; a jump less on
# each call is a thirtieth of the hot ones. What does more (a result that has to be converted) stays as it is.
#
# The compiler aligns what is optimised for speed, and nothing else, to 16 bytes. Where in its line a function of twenty
# instructions then stands depends on whatever was changed elsewhere, and makes a cycle of the five that it takes. (For
# AArch64 it aligns all alike, so there nothing is moved.)
#
# Run as a script, by cmake/BelayCore.cmake and by Benchmarks/build.sh.
cmake_minimum_required(VERSION 3.25...4.0)

execute_process(COMMAND "${OBJDUMP}" -dr --no-show-raw-insn "${OBJECT}" OUTPUT_VARIABLE _listing
  RESULT_VARIABLE _failure)
if(_failure)
  message(FATAL_ERROR "${OBJDUMP} could not read ${OBJECT}")
endif()
# An entry, its one instruction, and where that goes.
if(NOT DEFINED PREFIX)
  set(PREFIX belay)
endif()
set(_entry "<(${PREFIX}_[a-z0-9_]+)>:\n +0:\t(jmp|b)[ \t][^\n]*\n[^\n]*: R_(X86_64_PLT32|AARCH64_JUMP26)\t([^.\n+-][^\n+-]*)[^\n]*\n\n")
string(REGEX MATCHALL "${_entry}" _entries "${_listing}")
set(_options "")
set(_taken "")
foreach(_each IN LISTS _entries)
  string(REGEX MATCH "${_entry}" _ "${_each}")
  set(_name "${CMAKE_MATCH_1}")
  set(_function "${CMAKE_MATCH_4}")
  if(_function IN_LIST _taken) # two entries for one function, if the compiler finds them to be the same
    continue()
  endif()
  list(APPEND _taken "${_function}")
  string(APPEND _options "--redefine-sym=${_name}=entry.${_name}\n--redefine-sym=${_function}=${_name}\n")
endforeach()

execute_process(COMMAND "${OBJDUMP}" -hw "${OBJECT}" OUTPUT_VARIABLE _listing COMMAND_ERROR_IS_FATAL ANY)
set(_hot "\\.text\\.([^ \n]+) [^\n]* 2\\*\\*4 [^\n]*CODE")
string(REGEX MATCHALL "${_hot}" _sections "${_listing}")
foreach(_each IN LISTS _sections)
  string(REGEX MATCH "${_hot}" _ "${_each}")
  set(_function "${CMAKE_MATCH_1}")
  if(NOT _function MATCHES "^${PREFIX}_") # where there was a jump, or more
    string(APPEND _options "--set-section-alignment=.text.${_function}=64\n")
  endif()
endforeach()
file(WRITE "${OPTIONS}" "${_options}")
