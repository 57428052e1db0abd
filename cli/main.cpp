// The `ballast` command.
#include <iostream>

#include "cli/verbs/verbs.hpp"

int main(int argc, char** argv) { return ballast::run_program(argc, argv, std::cout, std::cerr); }
