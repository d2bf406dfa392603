// What an exported file says of itself: docs/export.md has the keys.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

using Color = std::array<std::uint8_t, 3>;  // RGB

struct Description {
  std::string task;     // detection, segmentation or classification
  std::string outputs;  // boxes, selected_boxes, logits, labels or scores
  std::string resize;   // squash, letterbox or crop
  int height, width;    // of the input, pixels
  std::vector<std::string> class_names;

  // detection
  float score_threshold = 0, nms_threshold = 0;
  int candidates = 0, limit = 0;

  // segmentation
  bool align_corners = false;
  std::vector<Color> palette;  // of each class; none where the data set has no colours of its own
};
