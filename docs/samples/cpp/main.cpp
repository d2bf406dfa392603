// sample detector.xml photo.jpg out.png   what is in the picture, printed and drawn
// sample detector.xml --exam              whether this program answers as Python did when the file was written
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "draw.hpp"
#include "exam.hpp"
#include "network.hpp"
#include "picture.hpp"
#include "prepare.hpp"
#include "results.hpp"

namespace {

constexpr float LEAST_SCORE = 0.4f;  // of boxes that are shown; files keep far more, for scores of precision and recall

void print(const Results& results, const Description& description) {
  for (const Found& found : results.found) {
    std::printf("%s %.3f", description.class_names[found.label].c_str(), found.score);
    const auto [left, top, right, bottom] = found.box;
    if (description.task == "detection") std::printf("  %.1f %.1f %.1f %.1f", left, top, right, bottom);
    std::printf("\n");
  }
  std::map<int, std::size_t> pixels;
  for (const auto label : results.labels) pixels[label]++;
  for (const auto [label, count] : pixels) {
    std::printf("%s %.1f%%\n", description.class_names[label].c_str(), 100.0 * double(count) / double(results.labels.size()));
  }
}

int run(const std::string& file, const std::string& photo, const std::string& drawn) {
  Network network(file);
  Picture picture = read_picture(photo);
  const Prepared prepared = prepare(picture, network.description);
  network.run(prepared.planes);
  Results results = results_of(network, picture, prepared.place);
  if (network.description.task == "detection") {
    const auto is_weak = [](const Found& found) { return found.score < LEAST_SCORE; };
    auto& found = results.found;
    found.erase(std::remove_if(found.begin(), found.end(), is_weak), found.end());
  }
  print(results, network.description);
  draw(picture, results, network.description);
  write_png(picture, drawn);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count == 4) return run(arguments[1], arguments[2], arguments[3]);
    if (count == 3 && std::string(arguments[2]) == "--exam") return examine(arguments[1]);
    std::fputs("sample detector.xml photo.jpg out.png\nsample detector.xml --exam\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 2;
}
