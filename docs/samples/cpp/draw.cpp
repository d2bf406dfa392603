#include "draw.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <set>
#include <string>

namespace {

constexpr int TAG_DOTS = 7;  // height of a tag

// The data set's own, else steps of the golden ratio, which never come close to an earlier hue.
Color color_of(int label, const Description& description) {
  if (!description.palette.empty()) return description.palette[label];
  Color color;
  for (int channel = 0; channel < 3; channel++) {
    color[channel] = std::uint8_t(127.5 + 127.5 * std::cos(6.2832 * (0.618 * label + channel / 3.0)));
  }
  return color;
}

void fill(Picture& picture, int left, int top, int width, int height, Color color) {
  for (int y = std::max(0, top); y < std::min(picture.height, top + height); y++) {
    for (int x = std::max(0, left); x < std::min(picture.width, left + width); x++) {
      std::copy(color.begin(), color.end(), picture.at(x, y));
    }
  }
}

// Letters of 3 x 5 dots: each octal digit is a row.
constexpr std::array<int, 10> DIGITS{075557, 026227, 071747, 071717, 055711, 074717, 074757, 071122, 075757, 075717};
constexpr std::array<int, 26> LETTERS{
    025755, 065656, 034443, 065556, 074647, 074644, 034553, 055755, 072227, 011152, 055655, 044447, 057755,
    065555, 025552, 065644, 025563, 065655, 034216, 072222, 055557, 055552, 055775, 055255, 055222, 071247};

int dots_of(unsigned char letter) {
  if (std::isdigit(letter)) return DIGITS[letter - '0'];
  if (std::isalpha(letter)) return LETTERS[std::toupper(letter) - 'A'];
  return letter == ' ' ? 0 : letter == '.' ? 02 : letter == '-' ? 0700 : letter == '_' ? 07 : 061202;  // else ?
}

// A tag whose lower edge is at `bottom`, or lower where it would stick out above.
void draw_tag(Picture& picture, const std::string& text, int left, int bottom, int dot, Color color) {
  const int width = (4 * int(text.size()) + 1) * dot, height = TAG_DOTS * dot;
  left = std::max(0, std::min(left, picture.width - width));
  const int top = std::max(0, bottom - height);
  fill(picture, left, top, width, height, color);
  const bool bright = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2] > 127;
  const Color ink = bright ? Color{0, 0, 0} : Color{255, 255, 255};
  for (std::size_t place = 0; place < text.size(); place++) {
    for (int bit = 0; bit < 15; bit++) {
      if (!(dots_of(text[place]) >> (14 - bit) & 1)) continue;
      fill(picture, left + (4 * int(place) + 1 + bit % 3) * dot, top + (1 + bit / 3) * dot, dot, dot, ink);
    }
  }
}

std::string with_score(const std::string& name, float score) {
  char text[16];
  std::snprintf(text, sizeof text, " %.2f", score);
  return name + text;
}

void draw_box(Picture& picture, const Box& box, int line, Color color) {
  const auto [left, top, right, bottom] = box;
  const int x = int(left), y = int(top), width = int(right) - x, height = int(bottom) - y;
  fill(picture, x, y, width, line, color);
  fill(picture, x, y + height - line, width, line, color);
  fill(picture, x, y, line, height, color);
  fill(picture, x + width - line, y, line, height, color);
}

// Half of each pixel is its class's colour; the background stays as it is.
void draw_labels(Picture& picture, const std::vector<std::uint8_t>& labels, const Description& description) {
  for (std::size_t pixel = 0; pixel < labels.size(); pixel++) {
    if (description.class_names[labels[pixel]] == "background") continue;
    const Color color = color_of(labels[pixel], description);
    for (int channel = 0; channel < 3; channel++) {
      std::uint8_t& value = picture.rgb[3 * pixel + channel];
      value = std::uint8_t((value + color[channel]) / 2);
    }
  }
}

}  // namespace

void draw(Picture& picture, const Results& results, const Description& description) {
  const double side = std::sqrt(double(picture.width) * picture.height);
  const int line = std::max(1, int(side / 220)), dot = int(std::ceil(side / 220));
  const auto& names = description.class_names;
  draw_labels(picture, results.labels, description);
  int bottom = 0;  // of the list of classes in the corner
  const std::set<int> seen(results.labels.begin(), results.labels.end());
  for (const int label : seen) {
    if (names[label] == "background") continue;
    draw_tag(picture, names[label], 0, bottom += TAG_DOTS * dot, dot, color_of(label, description));
  }
  for (auto found = results.found.rbegin(); found != results.found.rend(); ++found) {  // the best ends up on top
    const Color color = color_of(found->label, description);
    const std::string text = with_score(names[found->label], found->score);
    if (description.task == "detection") {
      draw_box(picture, found->box, line, color);
      draw_tag(picture, text, int(found->box[0]), int(found->box[1]), dot, color);
    } else {
      const int row = int(results.found.rend() - found);  // 1 is the best
      draw_tag(picture, text, 0, row * TAG_DOTS * dot, dot, color);
    }
  }
}
