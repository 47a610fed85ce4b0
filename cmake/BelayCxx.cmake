# SPDX-License-Identifier: Apache-2.0
#
# C++ for the test and the example of belay.hpp, where there is a compiler for it. Belay itself is built without.

include(CheckLanguage)
check_language(CXX)
set(BELAY_HAS_CXX OFF)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
  set(BELAY_HAS_CXX ON)
else()
  message(STATUS "No C++ compiler: belay.hpp is installed, but its test and its example are not built. "
    "To have them, install one (on Debian: apt-get install g++).")
endif()
