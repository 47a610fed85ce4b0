# SPDX-License-Identifier: Apache-2.0
#
# Builds Belay for Linux on AArch64, on a machine that is none, and runs its tests there in QEMU's emulation:
#
#     cmake -S . -B build/aarch64 --toolchain cmake/aarch64-linux-gnu.cmake
#
# Needs Debian's g++-aarch64-linux-gnu and qemu-user-static, and the Swift toolchain of this machine. That one brings its
# standard library for embedded programs for many processors, for AArch64 without a system. The core asks its system for
# nothing but through C headers, so that will do: it gets those of Linux.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(_belay_root /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH ${_belay_root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${_belay_root}/lib/pkgconfig) # not this machine's libraries
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L ${_belay_root})
set(BELAY_SWIFT_TARGET -target aarch64-none-none-elf
  -Xcc -D__linux__ -Xcc -D__gnu_linux__ -Xcc -isystem -Xcc ${_belay_root}/include)
