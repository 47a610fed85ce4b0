# SPDX-License-Identifier: Apache-2.0
#
# cmake --install: the headers, both libraries, belay.pc for pkg-config, BelayConfig.cmake for find_package(Belay).

include(CMakePackageConfigHelpers)

set(_belay_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Belay")
install(TARGETS belay_static belay_shared EXPORT BelayTargets)
install(FILES include/belay.h include/belay.hpp TYPE INCLUDE)
install(FILES LICENSE TYPE DOC)

set(BELAY_PC_TO_PREFIX "/") # belay.pc finds its prefix from where it lies, so that the tree can be moved
cmake_path(RELATIVE_PATH BELAY_PC_TO_PREFIX BASE_DIRECTORY "/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
configure_file(cmake/belay.pc.in belay.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/belay.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(EXPORT BelayTargets NAMESPACE Belay:: DESTINATION "${_belay_package_dir}")
configure_package_config_file(cmake/BelayConfig.cmake.in BelayConfig.cmake INSTALL_DESTINATION "${_belay_package_dir}")
write_basic_package_version_file(BelayConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/BelayConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/BelayConfigVersion.cmake"
  DESTINATION "${_belay_package_dir}")
