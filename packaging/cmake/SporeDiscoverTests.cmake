# spore_discover_tests(target ...): an entry of CTest for each test of a GoogleTest program, all of
# them run in forks of one machine.
#
#   spore_discover_tests(target
#     [DIST load|shard|each] [JOBS n] [SETUP cmd] [DATA path...] [MOUNT dir[:guest]...]
#     [SPORE_ARGS arg...]                           what spore-test is told
#     [EXTRA_ARGS arg...] [WORKING_DIRECTORY dir]   what the program is told, and where it is run
#     [TEST_PREFIX p] [TEST_SUFFIX s] [TEST_FILTER expr] [TEST_LIST variable]
#     [NO_PRETTY_TYPES] [NO_PRETTY_VALUES] [PROPERTIES name value...] [DISCOVERY_TIMEOUT seconds])
#
# The program is asked for its tests when it has been built. An entry `<target>.machine` boots the
# machine, sets it up and keeps it (spore-test --prepare); it is a fixture of all other entries, so
# that it runs before any of them and whenever one of them is chosen. They differ from it in
# nothing but their filter, which is how they find its machine.
#
# Names, and arguments that have them, are those of CMake's gtest_discover_tests(). Relative
# paths of DATA and MOUNT begin at the source directory. An argument may be a generator expression.
if(CMAKE_VERSION VERSION_LESS 3.20)
  message(FATAL_ERROR "spore_discover_tests() needs CMake 3.20 or newer")
endif()
cmake_policy(PUSH)
cmake_policy(VERSION 3.20...3.25)

# Makes the paths in a list absolute, but for what a generator expression begins.
function(spore_absolute_paths list base)
  set(paths "")
  foreach(path IN LISTS ${list})
    if(NOT path MATCHES "^(/|\\$<)")
      set(path "${base}/${path}")
    endif()
    list(APPEND paths "${path}")
  endforeach()
  set(${list} "${paths}" PARENT_SCOPE)
endfunction()

# The text of `set(name value)`, for each name of a variable of the caller.
function(spore_settings_text out)
  set(text "")
  foreach(name IN LISTS ARGN)
    set(guard "=")
    while("${${name}}" MATCHES "\\]${guard}\\]")
      string(APPEND guard "=")
    endwhile()
    string(APPEND text "set(${name} [${guard}[${${name}}]${guard}])\n")
  endforeach()
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

function(spore_check_discover_arguments target)
  if(ARG_UNPARSED_ARGUMENTS OR ARG_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "spore_discover_tests(${target}): unknown or without a value: "
            "${ARG_UNPARSED_ARGUMENTS} ${ARG_KEYWORDS_MISSING_VALUES}")
  endif()
  if(NOT TARGET ${target})
    message(FATAL_ERROR "spore_discover_tests(${target}): there is no such target")
  endif()
  get_target_property(type ${target} TYPE)
  if(NOT type STREQUAL "EXECUTABLE")
    message(FATAL_ERROR "spore_discover_tests(${target}): the target is no program")
  endif()
  if(CMAKE_CROSSCOMPILING)
    message(FATAL_ERROR "spore_discover_tests(${target}): the target is compiled for another "
            "system; Spore's machines run what this host can run")
  endif()
  if(ARG_DIST AND NOT ARG_DIST MATCHES "^(load|shard|each)$")
    message(FATAL_ERROR
            "spore_discover_tests(${target}): DIST ${ARG_DIST}: say load, shard or each")
  endif()
  list(LENGTH ARG_PROPERTIES count)
  math(EXPR odd "${count} % 2")
  if(odd)
    message(FATAL_ERROR "spore_discover_tests(${target}): PROPERTIES are pairs of name and value")
  endif()
endfunction()

function(spore_discover_tests target)
  set(one_value DIST JOBS SETUP WORKING_DIRECTORY TEST_PREFIX TEST_SUFFIX TEST_FILTER TEST_LIST
      DISCOVERY_TIMEOUT)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "NO_PRETTY_TYPES;NO_PRETTY_VALUES"
    "${one_value}" "DATA;MOUNT;SPORE_ARGS;EXTRA_ARGS;PROPERTIES")
  spore_check_discover_arguments(${target})

  # A target may be discovered more than once, with another filter or other arguments.
  set_property(TARGET ${target} APPEND PROPERTY SPORE_DISCOVER_CALLS "${ARG_TEST_FILTER}.")
  get_property(calls TARGET ${target} PROPERTY SPORE_DISCOVER_CALLS)
  list(LENGTH calls call)
  set(MACHINE ${target}.machine)
  if(call GREATER 1)
    string(APPEND MACHINE -${call})
  endif()

  if(NOT ARG_JOBS)
    set(ARG_JOBS 1)
  endif()
  if(NOT ARG_DISCOVERY_TIMEOUT)
    set(ARG_DISCOVERY_TIMEOUT 30)
  endif()
  if(NOT ARG_TEST_LIST)
    set(ARG_TEST_LIST ${target}_TESTS)
  endif()
  if(NOT ARG_WORKING_DIRECTORY)
    set(ARG_WORKING_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
  endif()
  spore_absolute_paths(ARG_WORKING_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
  spore_absolute_paths(ARG_DATA "${CMAKE_CURRENT_SOURCE_DIR}")
  spore_absolute_paths(ARG_MOUNT "${CMAKE_CURRENT_SOURCE_DIR}")

  get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  set(files "${CMAKE_CURRENT_BINARY_DIR}/spore/${MACHINE}")
  set(ctest_files "${files}")
  if(multi_config)
    set(ctest_files "${files}/\${CTEST_CONFIGURATION_TYPE}")
    string(APPEND files "/$<CONFIG>")
  endif()

  # The settings go through a file, where no character of theirs means anything.
  set(TARGET_NAME ${target})
  set(PROGRAM "$<TARGET_FILE:${target}>")
  set(SPORE_TEST "$<TARGET_FILE:spore::spore-test>")
  set(TESTS_FILE "${files}/tests.cmake")
  spore_settings_text(settings TARGET_NAME PROGRAM SPORE_TEST TESTS_FILE MACHINE
    ARG_DIST ARG_JOBS ARG_SETUP ARG_DATA ARG_MOUNT ARG_SPORE_ARGS ARG_EXTRA_ARGS
    ARG_WORKING_DIRECTORY ARG_TEST_PREFIX ARG_TEST_SUFFIX ARG_TEST_FILTER ARG_TEST_LIST
    ARG_NO_PRETTY_TYPES ARG_NO_PRETTY_VALUES ARG_PROPERTIES ARG_DISCOVERY_TIMEOUT)
  file(GENERATE OUTPUT "${files}/settings.cmake" CONTENT "${settings}")
  # With their digest in its command the step is done again when they have changed.
  string(SHA256 digest "${settings}")
  add_custom_command(TARGET ${target} POST_BUILD
    BYPRODUCTS "${TESTS_FILE}"
    COMMAND ${CMAKE_COMMAND} -D "SETTINGS=${files}/settings.cmake" -D "DIGEST=${digest}"
            -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/SporeWriteTests.cmake"
    VERBATIM)

  # What CTest reads; an entry that fails stands for tests of which nothing is known yet.
  set(include_file "${CMAKE_CURRENT_BINARY_DIR}/spore/${MACHINE}/include.cmake")
  file(WRITE "${include_file}"
"if(EXISTS \"${ctest_files}/tests.cmake\")
  include(\"${ctest_files}/tests.cmake\")
else()
  add_test(${target}_NOT_BUILT ${target}_NOT_BUILT)
endif()
")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${include_file}")
endfunction()

cmake_policy(POP)
