// How much two boxes overlap.
#pragma once

#include <algorithm>
#include <array>

using Box = std::array<double, 4>;  // left, top, right, bottom

inline double area(const Box& box) { return (box[2] - box[0]) * (box[3] - box[1]); }

// Intersection over union, 0..1.
inline double iou(const Box& one, const Box& other) {
  const double width = std::min(one[2], other[2]) - std::max(one[0], other[0]);
  const double height = std::min(one[3], other[3]) - std::max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  return width * height / (area(one) + area(other) - width * height);
}
