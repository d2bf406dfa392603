#include "distance.hpp"

#include <algorithm>
#include <cmath>

#include "results.hpp"

using nlohmann::json;

namespace {

constexpr std::size_t MOST_BOXES = 20;

std::vector<double> joined(const Answers& answers, const std::string& output) {
  std::vector<double> all;
  for (const json& each : answers) all.insert(all.end(), each.at(output).begin(), each.at(output).end());
  return all;
}

std::vector<Found> boxes_above(double threshold, const json& results) {
  std::vector<Found> found;
  for (const json& each : results) {
    if (each.at("score") > threshold) found.push_back({each.at("label"), each.at("score"), each.at("box")});
  }
  std::stable_sort(found.begin(), found.end(), [](auto& one, auto& other) { return one.score > other.score; });
  if (found.size() > MOST_BOXES) found.resize(MOST_BOXES);
  return found;
}

}  // namespace

double number_distance(const std::string& output, const Answers& ours, const Answers& theirs, const Answers& right) {
  const auto one = joined(ours, output), other = joined(theirs, output), answers = joined(right, output);
  double mean = 0, apart = 0, spread = 0;
  for (const double value : answers) mean += value / double(answers.size());
  for (std::size_t place = 0; place < answers.size(); place++) {
    apart += std::pow(one[place] - other[place], 2);
    spread += std::pow(answers[place] - mean, 2);
  }
  return std::sqrt(apart / (spread > 0 ? spread : 1));
}

double box_distance(const Answers& ours, const Answers& theirs, double threshold) {
  double apart = 0, whole = 0;
  const auto weight = [&](const Found& box) { return box.score - threshold; };
  for (std::size_t picture = 0; picture < ours.size(); picture++) {
    auto left = boxes_above(threshold, theirs[picture].at("results"));
    for (const Found& box : left) whole += weight(box);
    for (const Found& box : boxes_above(threshold, ours[picture].at("results"))) {
      whole += weight(box);
      const auto overlap = [&](const Found& other) { return other.label == box.label ? iou(box.box, other.box) : 0; };
      const auto best = std::max_element(left.begin(), left.end(), [&](auto& a, auto& b) { return overlap(a) < overlap(b); });
      if (best == left.end() || overlap(*best) < 0.5) {
        apart += weight(box);
        continue;
      }
      apart += std::abs(box.score - best->score) + (1 - overlap(*best)) * std::min(weight(box), weight(*best));
      left.erase(best);
    }
    for (const Found& box : left) apart += weight(box);
  }
  return whole > 0 ? apart / whole : 0;
}

double label_distance(const std::string& output, const Answers& ours, const Answers& theirs) {
  double differ = 0, all = 0;
  for (std::size_t picture = 0; picture < ours.size(); picture++) {
    const json& expected = theirs[picture].at(output);
    for (std::size_t place = 0; place < expected.size(); place++, all++) {
      const auto label = [&](const json& each) { return each.is_object() ? each.at("label") : each; };
      differ += label(expected[place]) != label(ours[picture].at(output).at(place));
    }
  }
  return differ / std::max(1.0, all);
}
