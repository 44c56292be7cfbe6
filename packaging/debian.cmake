# The Debian package: `ninja package`, or `cpack` in the build directory. One package with all that
# is installed; Python users have pip.
set(CPACK_PACKAGE_NAME spore)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Boot a Linux machine once, fork it for every test")
set(CPACK_PACKAGE_DESCRIPTION
"Spore boots a small Linux virtual machine, sets it up once, captures it when
all is warm, and forks it: each test gets a machine of its own, whose memory
is shared copy-on-write. The package has the commands spore and spore-test
(for programs of GoogleTest, Catch2 and doctest), and the C and C++ libraries
for programs in a machine.")
# Whoever builds other sources than those of the repository says who answers for the package.
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} log -1 "--format=%an <%ae>"
  OUTPUT_VARIABLE maintainer OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT maintainer)
  set(maintainer "Spore maintainers <maintainers@spore.invalid>")
endif()
set(CPACK_PACKAGE_CONTACT "${maintainer}" CACHE STRING
    "Maintainer of the Debian package: name and address")
set(CPACK_STRIP_FILES ON)

if(NOT CPACK_GENERATOR)
  set(CPACK_GENERATOR DEB)
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
# Debian's rule for directories and control files, whatever the umask of who builds.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# Libraries are told by the programs. sqfstar, of squashfs-tools, packs every root image.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
# dpkg runs ldconfig behind both installation and removal; CPack's own scripts are no trigger.
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_SOURCE_DIR}/triggers)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "squashfs-tools (>= 1:4.5)")
# Not Depends: --kernel takes any kernel, and a host with KVM needs no emulator.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
    "linux-image-amd64 | linux-image-generic, qemu-system-x86, iproute2, procps")
# What gives stacks names and debugs kept failures, and with which programs are built that link the
# libraries.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS
    "binutils, cmake, gdb, gdbserver, libgtest-dev, pkg-config")

# The changelog has the day of this configuration, or of SOURCE_DATE_EPOCH.
string(TIMESTAMP changelog_date "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(changelog.in changelog @ONLY)
set(CPACK_SPORE_CHANGELOG ${CMAKE_CURRENT_BINARY_DIR}/changelog)
set(CPACK_SPORE_SOURCES ${CMAKE_CURRENT_SOURCE_DIR})
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/debian-stage.cmake)
