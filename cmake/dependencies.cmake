# Imported targets of every third-party package. Debian names: deploy/install-deps.sh.
find_package(Threads REQUIRED)

# header_only(NAME HEADER): target ballast_dep::NAME for a package that ships headers without a CMake target.
function(header_only name header)
  find_path(${name}_INCLUDE ${header} REQUIRED)
  add_library(ballast_dep_${name} INTERFACE)
  add_library(ballast_dep::${name} ALIAS ballast_dep_${name})
  target_include_directories(ballast_dep_${name} SYSTEM INTERFACE ${${name}_INCLUDE})
endfunction()

header_only(expected tl/expected.hpp)
if(BALLAST_PLANNER_ONLY)
  return()
endif()

find_package(spdlog REQUIRED CONFIG)
find_package(fmt REQUIRED CONFIG)
find_package(nlohmann_json REQUIRED CONFIG)
find_package(CLI11 REQUIRED CONFIG)
find_package(ZLIB REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(CURL REQUIRED)

header_only(tomlplusplus toml++/toml.h)
header_only(msgpack msgpack.hpp)
target_compile_definitions(ballast_dep_msgpack INTERFACE MSGPACK_NO_BOOST)
header_only(zmq zmq.hpp)
find_library(zmq_LIBRARY zmq REQUIRED)
target_link_libraries(ballast_dep_zmq INTERFACE ${zmq_LIBRARY})
header_only(xxhash xxhash.h)
find_library(xxhash_LIBRARY xxhash REQUIRED)
target_link_libraries(ballast_dep_xxhash INTERFACE ${xxhash_LIBRARY})
header_only(yaml yaml.h)
find_library(yaml_LIBRARY yaml REQUIRED)
target_link_libraries(ballast_dep_yaml INTERFACE ${yaml_LIBRARY})
# libcaf-dev 0.17 ships neither a CMake package nor a .pc file.
header_only(caf caf/config.hpp)
find_library(caf_LIBRARY caf_core REQUIRED)
target_link_libraries(ballast_dep_caf INTERFACE ${caf_LIBRARY} Threads::Threads)

add_library(ballast_precompiled STATIC ${CMAKE_CURRENT_LIST_DIR}/precompiled.cpp)
target_link_libraries(ballast_precompiled PRIVATE ballast_library_options ballast_dep_expected fmt::fmt)
target_precompile_headers(ballast_precompiled PRIVATE ${CMAKE_CURRENT_LIST_DIR}/precompiled.hpp)
