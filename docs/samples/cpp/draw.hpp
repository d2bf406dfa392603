// Results drawn into the picture they are of.
#pragma once

#include "description.hpp"
#include "picture.hpp"
#include "results.hpp"

void draw(Picture& picture, const Results& results, const Description& description);
