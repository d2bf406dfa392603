#include "exam.hpp"

#include <nlohmann/json.hpp>
#include <openvino/op/constant.hpp>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <vector>

#include "distance.hpp"
#include "network.hpp"
#include "picture.hpp"
#include "prepare.hpp"
#include "results.hpp"

namespace {

using nlohmann::json;

constexpr int PARTS = 8;                  // of the input along each side, whose means are compared
constexpr double LARGEST_MEAN_ERROR = 2;  // of 255
constexpr int GRID = 16;                  // pixels along each side at which a label map is looked at
constexpr double NEARER = 0.6;            // a fault is named whose answers are at least so much nearer than the right ones
constexpr double LARGEST_RESULT_ERROR = 0.25;  // of results that come of right numbers: rounding moves a few

std::vector<std::uint8_t> from_base64(const std::string& text) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::uint8_t> bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char letter : text.substr(0, text.find('='))) {
    bits = bits << 6 | unsigned(digits.find(letter));
    if ((count += 6) >= 8) bytes.push_back(std::uint8_t(bits >> (count -= 8)));
  }
  return bytes;
}

// --- what this program answers ---------------------------------------------------------------------------------------

// By how much the mean of a part of the input is off at most, 0..255.
double input_error(const std::vector<std::uint8_t>& planes, const Description& description, const json& expected) {
  const int width = description.width, height = description.height;
  double worst = 0;
  for (int channel = 0; channel < 3; channel++) {
    for (int part = 0; part < PARTS * PARTS; part++) {
      const int row = part / PARTS, column = part % PARTS;
      const int top = row * height / PARTS, bottom = (row + 1) * height / PARTS;
      const int left = column * width / PARTS, right = (column + 1) * width / PARTS;
      double sum = 0;
      for (int y = top; y < bottom; y++) {
        for (int x = left; x < right; x++) sum += planes[(std::size_t(channel) * height + y) * width + x];
      }
      const double mean = sum / std::max(1, (bottom - top) * (right - left));
      worst = std::max(worst, std::abs(mean - expected[channel][row][column].get<double>()));
    }
  }
  return worst;
}

json values_at(const ov::Tensor& tensor, const json& places) {
  json values = json::array();
  for (const std::size_t place : places) {
    if (place >= tensor.get_size()) throw std::runtime_error("its exam looks beyond an output");
    const bool is_float = tensor.get_element_type() == ov::element::f32;
    const double value = is_float ? tensor.data<const float>()[place] : tensor.data<const std::uint8_t>()[place];
    values.push_back(std::isnan(value) ? 1e9 : std::clamp(value, -1e9, 1e9));
  }
  return values;
}

// As the exam has them: scores to four places, sides of boxes to one.
json plain(const Results& results, const Picture& picture) {
  json found = json::array();
  for (const Found& each : results.found) {
    Box box = each.box;
    for (double& side : box) side = std::round(10 * side) / 10;
    found.push_back({{"label", each.label}, {"score", std::round(1e4 * each.score) / 1e4}, {"box", box}});
  }
  if (results.labels.empty()) return found;
  for (int row = 0; row < GRID; row++) {
    for (int column = 0; column < GRID; column++) {
      const int y = (2 * row + 1) * picture.height / (2 * GRID), x = (2 * column + 1) * picture.width / (2 * GRID);
      found.push_back(results.labels[std::size_t(y) * picture.width + x]);
    }
  }
  return found;
}

Answers answer(Network& network, const json& exam, double& worst_input) {
  Answers answers;
  for (const json& asked : exam.at("pictures")) {
    const Picture picture = decode_png(from_base64(asked.at("png")));
    const Prepared prepared = prepare(picture, network.description);
    worst_input = std::max(worst_input, input_error(prepared.planes, network.description, asked.at("input")));
    network.run(prepared.planes);
    json found;
    for (const auto& [output, places] : exam.at("at").items()) found[output] = values_at(network.output(output), places);
    found["results"] = plain(results_of(network, picture, prepared.place), picture);
    answers.push_back(found);
  }
  return answers;
}

json in_a_row(const json& rows) {
  json all = json::array();
  for (const json& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// --- what is wrong ---------------------------------------------------------------------------------------------------

// Answers, those that are right, and how far apart they may be; all of each picture.
struct Compared {
  Answers ours, right;
  json limits;
};

class Examiner {
 public:
  Examiner(const json& exam, const Description& description) : exam_(exam), is_detection_(description.task == "detection") {
    for (const json& picture : exam_.at("pictures")) {
      json found = picture.at("answers");
      const json& results = picture.at("results");
      found["results"] = results.contains("grid") ? in_a_row(results.at("grid")) : results;
      right_.push_back(found);
    }
  }

  // With the model's answers; and where rounding is coarse, with the file's own of when it was written.
  std::vector<Compared> compared(const Answers& ours) const {
    std::vector<Compared> all{{ours, right_, exam_.at("limits")}};
    if (exam_.contains("own_limits")) all.push_back(less_rounding(ours));
    return all;
  }

  // One line for each output, and for the results; whether all of them are right.
  bool compare(const Compared& compared) const {
    bool all_right = true;
    const auto line = [&](const std::string& name, double apart, double limit) {
      const bool is_right = apart <= limit;
      std::printf("%-8s %.2g from Python's, %.2g is allowed%s\n", name.c_str(), apart, limit, is_right ? "" : ": WRONG");
      all_right &= is_right;
    };
    json limits = compared.limits;
    // What int8 made of results is kept of boxes that the file selects itself alone; of others they tell nothing.
    if (!limits.contains("results") && !exam_.contains("own_limits")) limits["results"] = LARGEST_RESULT_ERROR;
    for (const auto& [name, limit] : limits.items()) line(name, distance(name, compared.ours, compared.right), limit);
    return all_right;
  }

  // The fault with which the model would have answered so, "" where none fits.
  std::string nearest_fault(const Compared& compared) const {
    double best = combined(compared, compared.right) * NEARER;
    std::string nearest;
    for (const auto& [fault, _] : exam_.at("pictures").at(0).at("otherwise").items()) {
      Answers faulty;
      for (const json& picture : exam_.at("pictures")) faulty.push_back(picture.at("otherwise").at(fault));
      if (const double apart = combined(compared, faulty); apart < best) best = apart, nearest = fault;
    }
    return nearest;
  }

 private:
  // Rounding to int8 moves answers farther than many a fault does, but to the same place everywhere: it is taken off.
  Compared less_rounding(Answers ours) const {
    Answers right = right_;
    for (std::size_t picture = 0; picture < ours.size(); picture++) {
      const json& own = exam_.at("pictures").at(picture).at("own");
      for (const auto& [output, _] : exam_.at("at").items()) {
        for (std::size_t place = 0; place < own.at(output).size(); place++) {
          json& found = ours[picture][output][place];
          const json& answer = right_[picture].at(output)[place];
          if (output != "labels") {
            found = found.get<double>() - own.at(output)[place].get<double>() + answer.get<double>();
          } else if (found == own.at(output)[place]) {
            found = answer;
          }
        }
      }
      if (own.contains("results")) right[picture]["results"] = own.at("results");
    }
    return {ours, right, exam_.at("own_limits")};
  }

  double distance(const std::string& name, const Answers& ours, const Answers& theirs) const {
    if (name != "results" && name != "labels") return number_distance(name, ours, theirs, right_);
    const bool of_boxes = name == "results" && is_detection_;
    return of_boxes ? box_distance(ours, theirs, exam_.at("score_threshold")) : label_distance(name, ours, theirs);
  }

  // Of all outputs, each by its limit: what comes out coarsely tells little.
  double combined(const Compared& compared, const Answers& theirs) const {
    double sum = 0;
    for (const auto& [name, limit] : compared.limits.items()) {
      sum += std::pow(distance(name, compared.ours, theirs) / std::max(limit.get<double>(), 1e-6), 2);
    }
    return std::sqrt(sum);
  }

  const json& exam_;
  bool is_detection_;
  Answers right_;
};

// Constants that are not as they were written: each by its name, a number, and what reads it.
std::vector<std::string> changed_weights(const ov::Model& model, const json& expected) {
  std::map<std::string, std::uint32_t> found;
  for (const auto& operation : model.get_ordered_ops()) {
    const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(operation);
    if (!constant) continue;
    const auto* bytes = static_cast<const Bytef*>(constant->get_data_ptr());
    found[constant->get_friendly_name()] = std::uint32_t(crc32(0, bytes, uInt(constant->get_byte_size())));
  }
  std::vector<std::string> changed;
  for (const auto& [name, sum] : expected.items()) {
    if (found[name.substr(0, name.find(' '))] != sum) changed.push_back(name);
  }
  return changed;
}

}  // namespace

int examine(const std::string& path) {
  Network network(path);
  const json description = json::parse(network.json);
  if (!description.contains("exam")) throw std::runtime_error(path + ": carries no exam; export it again");
  const json& exam = description.at("exam");
  const Examiner examiner(exam, network.description);

  double worst_input = 0;
  const Answers ours = answer(network, exam, worst_input);
  const bool is_prepared = worst_input <= LARGEST_MEAN_ERROR;
  std::printf("%-8s %.2g of 255 from Python's, %.2g is allowed%s\n", "input", worst_input, LARGEST_MEAN_ERROR,
              is_prepared ? "" : ": WRONG");
  const std::vector<Compared> compared = examiner.compared(ours);
  const bool is_right = examiner.compare(compared.back());
  const auto changed = changed_weights(*network.model, exam.at("weights"));
  std::printf("%-8s %zu of %zu as written%s\n", "weights", exam.at("weights").size() - changed.size(),
              exam.at("weights").size(), changed.empty() ? "" : ": WRONG");

  if (!is_right) {
    // A gross fault changes what rounding does, so answers as they are tell it; a small one is told without that.
    std::string cause;
    for (const Compared& each : compared) cause = cause.empty() ? examiner.nearest_fault(each) : cause;
    if (cause.empty()) cause = changed.empty() ? "none that the exam knows" : "the constants that were changed";
    std::printf("likely cause: %s\n", cause.c_str());
  }
  for (std::size_t n = 0; n < std::min<std::size_t>(3, changed.size()); n++) std::printf("changed: %s\n", changed[n].c_str());
  const bool passed = is_prepared && is_right && changed.empty();
  std::puts(passed ? "passed" : "failed");
  return passed ? 0 : 1;
}
