# Run by CPack on what it has installed and not yet packed: what Debian's policy asks of a package,
# and `cmake --install` does not do elsewhere.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()
set(share ${CPACK_TEMPORARY_DIRECTORY}${CPACK_PACKAGING_INSTALL_PREFIX}/share)
set(doc ${share}/doc/${CPACK_PACKAGE_NAME})
if(NOT IS_DIRECTORY ${doc})
  message(FATAL_ERROR "making the Debian package: ${doc} was not installed")
endif()

# The text of the license comes with Debian.
file(REMOVE ${doc}/LICENSE)
configure_file(${CPACK_SPORE_SOURCES}/copyright ${doc}/copyright COPYONLY NO_SOURCE_PERMISSIONS)
configure_file(${CPACK_SPORE_CHANGELOG} ${doc}/changelog COPYONLY NO_SOURCE_PERMISSIONS)
configure_file(${CPACK_SPORE_SOURCES}/lintian-overrides
  ${share}/lintian/overrides/${CPACK_PACKAGE_NAME} COPYONLY NO_SOURCE_PERMISSIONS)
file(GLOB pages ${share}/man/man*/*)
execute_process(COMMAND gzip -9n ${pages} ${doc}/changelog COMMAND_ERROR_IS_FATAL ANY)
