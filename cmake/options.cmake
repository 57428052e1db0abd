# Language level, warnings, sanitizers, ccache, and the helper that makes one library per folder.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Relative paths, so that a fresh clone finds what another one compiled; the rest is what ccache asks for to see through
# precompiled headers.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
endif()

set(BALLAST_SANITIZE "" CACHE STRING "Sanitizers for every target, as -fsanitize= takes them (address,undefined or thread)")

add_library(ballast_options INTERFACE)
target_compile_options(ballast_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror
                       -Wno-missing-field-initializers)  # members have defaults; leaving them out is how they are used
target_include_directories(ballast_options INTERFACE ${PROJECT_SOURCE_DIR})
# The code is kept free of g++'s warnings; clang, which only the fuzz preset uses, has others.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ballast_options INTERFACE -Wno-error)
endif()
# Sources of a target compiled together have their local types in "another" file.
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ballast_options INTERFACE -Wno-subobject-linkage)
endif()
# Answers are compared bit for bit: the compiler may not fuse a multiply and an add where it likes.
target_compile_options(ballast_options INTERFACE -ffp-contract=off)
if(BALLAST_SANITIZE)
  target_compile_options(ballast_options INTERFACE -fsanitize=${BALLAST_SANITIZE} -fno-omit-frame-pointer -g1)
  # g++ 12 takes values that the sanitizers look at for uninitialised ones, in the standard library's own headers.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(ballast_options INTERFACE -Wno-maybe-uninitialized)
  endif()
  # Under the thread sanitizer it also takes the moves of short strings in tl::expected for writes past their end.
  if(BALLAST_SANITIZE MATCHES "thread")
    target_compile_options(ballast_options INTERFACE -Wno-array-bounds)
  endif()
  target_link_options(ballast_options INTERFACE -fsanitize=${BALLAST_SANITIZE})
endif()

# Of what users run. Checks of every single access double the time of a build; most of what they see, the address
# sanitizer sees, too. The fuzz preset, by clang, keeps them. What takes a flag back stands behind what gives it.
add_library(ballast_fewer_checks INTERFACE)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND BALLAST_SANITIZE MATCHES "undefined")
  target_compile_options(ballast_fewer_checks INTERFACE
    -fno-sanitize=null,alignment,object-size,vptr,nonnull-attribute,returns-nonnull-attribute)
endif()
add_library(ballast_library_options INTERFACE)
target_link_libraries(ballast_library_options INTERFACE ballast_options ballast_fewer_checks)

# What nearly every file includes, parsed once: halves the time of a build. The vocabulary headers are in it, msgpack, CAF,
# ZeroMQ and their like are not.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ballast_options INTERFACE -fpch-preprocess)
endif()

# ballast_library(NAME SOURCES a.cpp … LINK lib … PRIVATE lib …): target ballast_NAME, alias ballast::NAME.
function(ballast_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK;PRIVATE" ${ARGN})
  add_library(ballast_${name} STATIC ${arg_SOURCES})
  add_library(ballast::${name} ALIAS ballast_${name})
  target_link_libraries(ballast_${name} PUBLIC ballast_options ${arg_LINK} PRIVATE ballast_library_options ${arg_PRIVATE})
  if(TARGET ballast_precompiled)
    target_link_libraries(ballast_${name} PRIVATE fmt::fmt)  # it was compiled with fmt's flags
    target_precompile_headers(ballast_${name} REUSE_FROM ballast_precompiled)
  endif()
endfunction()

# ballast_program(NAME LINK lib …): an executable of main.cpp. The programs lie side by side, as they do when installed:
# `ballast demo` starts the other two.
function(ballast_program name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  add_executable(${name} main.cpp)
  target_link_libraries(${name} PRIVATE ballast_library_options ${arg_LINK})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  install(TARGETS ${name} RUNTIME)
endfunction()
