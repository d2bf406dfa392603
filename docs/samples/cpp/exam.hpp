// Whether this program answers as Python did when the file was written, and what is wrong where it does not.
#pragma once

#include <string>

// Takes the exam that the file at `path` carries, prints what came of it, and gives the exit code: 0 if all is right.
int examine(const std::string& path);
