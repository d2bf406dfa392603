// From the network's outputs to results in the picture's own pixels.
#pragma once

#include <cstdint>
#include <vector>

#include "boxes.hpp"
#include "network.hpp"
#include "picture.hpp"
#include "prepare.hpp"

struct Found {
  int label;
  float score;
  Box box;  // in pixels; of a class the whole picture
};

struct Results {
  std::vector<Found> found;          // detection: boxes, best first; classification: the best three
  std::vector<std::uint8_t> labels;  // segmentation: the class of every pixel, row after row
};

// What `network`, which has just run, says of a picture that lies at `place` in its input.
Results results_of(Network& network, const Picture& picture, const Place& place);
