// From a picture to the network's input, and where the picture lies in it.
#pragma once

#include <cstdint>
#include <vector>

#include "description.hpp"
#include "picture.hpp"

// input_xy = picture_xy * scale + offset, of the edges of pixels.
struct Place {
  double scale_x, scale_y, offset_x, offset_y;
};

struct Prepared {
  std::vector<std::uint8_t> planes;  // uint8 [3, H, W]: red, green, blue
  Place place;
};

Prepared prepare(const Picture& picture, const Description& description);
