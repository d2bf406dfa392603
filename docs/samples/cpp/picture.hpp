// Pictures as pixels: JPEG and PNG in, PNG out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct Picture {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  // row after row: height * width * 3

  std::uint8_t* at(int x, int y) { return &rgb[3 * (static_cast<std::size_t>(y) * width + x)]; }
  const std::uint8_t* at(int x, int y) const { return &rgb[3 * (static_cast<std::size_t>(y) * width + x)]; }
};

// Upright, as the EXIF data of cameras say. Throws std::runtime_error for what is neither JPEG nor PNG.
Picture read_picture(const std::string& path);

Picture decode_png(const std::vector<std::uint8_t>& file);

void write_png(const Picture& picture, const std::string& path);
