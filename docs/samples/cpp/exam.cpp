#include "exam.hpp"
int examine(const std::string&) { return 2; }
