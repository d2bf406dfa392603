#include "prepare.hpp"

#include <algorithm>
#include <cmath>

namespace {

constexpr double CROP_FRACTION = 0.875;
constexpr int BITS = 22;             // Pillow's, whose whole numbers decide where a mean lies half way
constexpr std::uint8_t GREY = 127;  // around a letterboxed picture

struct Window {
  int left, top, width, height;
};

// As Python does: halves go to the even number, which is std::nearbyint's way unless somebody changes it.
int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }

// What of the picture is seen: its middle where it is cropped.
Window seen_of(const Picture& picture, const Description& to) {
  if (to.resize != "crop") return {0, 0, picture.width, picture.height};
  const double scale = std::max(double(to.width) / picture.width, double(to.height) / picture.height) / CROP_FRACTION;
  const int width = std::max(1, rounded(to.width / scale)), height = std::max(1, rounded(to.height / scale));
  return {(picture.width - width) / 2, (picture.height - height) / 2, width, height};
}

// Where in the input that goes: to its middle where there are bars beside it.
Window inside_of(const Picture& picture, const Description& to) {
  if (to.resize != "letterbox") return {0, 0, to.width, to.height};
  const double scale = std::min(double(to.width) / picture.width, double(to.height) / picture.height);
  const int width = std::min(to.width, std::max(1, rounded(picture.width * scale)));
  const int height = std::min(to.height, std::max(1, rounded(picture.height * scale)));
  return {(to.width - width) / 2, (to.height - height) / 2, width, height};
}

// What a new pixel is made of: old pixels from `first` on, and the share of each, of 1 << BITS.
struct Mixture {
  int first;
  std::vector<int> shares;
};

// Bilinear with antialiasing, as Pillow's BILINEAR: a triangle over the old pixels, at least as wide as a new one.
std::vector<Mixture> mixtures_of(int count, int new_count) {
  const double scale = double(count) / new_count, reach = std::max(1.0, scale);
  std::vector<Mixture> made(new_count);
  for (int i = 0; i < new_count; i++) {
    const double centre = (i + 0.5) * scale;
    const int end = std::min(count, int(centre + reach + 0.5));
    made[i].first = std::max(0, int(centre - reach + 0.5));
    const auto height = [&](int j) { return std::max(0.0, 1 - std::abs(j + 0.5 - centre) / reach); };
    double total = 0;
    for (int j = made[i].first; j < end; j++) total += height(j);
    for (int j = made[i].first; j < end; j++) made[i].shares.push_back(int(height(j) / total * (1 << BITS) + 0.5));
  }
  return made;
}

// One row or column of one channel; pixels lie `step` values apart, new ones `new_step`.
void resize_line(const std::vector<Mixture>& mixtures, const std::uint8_t* from, std::ptrdiff_t step, std::uint8_t* to,
                 std::ptrdiff_t new_step) {
  for (const Mixture& mixture : mixtures) {
    const std::uint8_t* next = from + mixture.first * step;
    int sum = 1 << (BITS - 1);  // so that cutting off is rounding
    for (const int share : mixture.shares) {
      sum += share * *next;
      next += step;
    }
    *to = std::uint8_t(std::min(255, sum >> BITS));
    to += new_step;
  }
}

}  // namespace

Prepared prepare(const Picture& picture, const Description& description) {
  const Window seen = seen_of(picture, description), inside = inside_of(picture, description);
  const int width = description.width;
  const std::size_t plane = std::size_t(width) * description.height;
  Prepared made{std::vector<std::uint8_t>(3 * plane, GREY), {}};
  const auto across = mixtures_of(seen.width, inside.width), down = mixtures_of(seen.height, inside.height);
  std::vector<std::uint8_t> narrow(std::size_t(inside.width) * seen.height);  // one channel, its rows resized
  for (int channel = 0; channel < 3; channel++) {
    for (int y = 0; y < seen.height; y++) {
      resize_line(across, picture.at(seen.left, seen.top + y) + channel, 3, &narrow[std::size_t(y) * inside.width], 1);
    }
    std::uint8_t* corner = &made.planes[channel * plane + std::size_t(inside.top) * width + inside.left];
    for (int x = 0; x < inside.width; x++) {
      resize_line(down, &narrow[x], inside.width, corner + x, width);
    }
  }
  const double scale_x = double(inside.width) / seen.width, scale_y = double(inside.height) / seen.height;
  made.place = {scale_x, scale_y, inside.left - seen.left * scale_x, inside.top - seen.top * scale_y};
  return made;
}
