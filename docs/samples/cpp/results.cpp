#include "results.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

// --- boxes, in pixels of the input -----------------------------------------------------------------------------------

Found found_at(int label, float score, const float* box) { return {label, score, {box[0], box[1], box[2], box[3]}}; }

// Threshold and suppression, of boxes [A, 4] and scores [A, K].
std::vector<Found> selected(const float* boxes, const float* scores, std::size_t pairs, const Description& by) {
  const std::size_t classes = by.class_names.size();
  std::vector<std::size_t> order;
  for (std::size_t pair = 0; pair < pairs; pair++) {
    if (scores[pair] >= by.score_threshold) order.push_back(pair);
  }
  std::stable_sort(order.begin(), order.end(), [&](auto one, auto other) { return scores[one] > scores[other]; });
  order.resize(std::min<std::size_t>(order.size(), by.candidates));
  std::vector<Found> kept;
  for (const std::size_t pair : order) {
    if (kept.size() == std::size_t(by.limit)) break;
    const Found next = found_at(int(pair % classes), scores[pair], boxes + 4 * (pair / classes));
    const auto hides = [&](const Found& better) {
      return better.label == next.label && iou(better.box, next.box) > by.nms_threshold;
    };
    if (std::none_of(kept.begin(), kept.end(), hides)) kept.push_back(next);
  }
  return kept;
}

std::vector<Found> boxes_of(Network& network, const Picture& picture, const Place& place) {
  const ov::Tensor boxes = network.output("boxes"), scores = network.output("scores");
  std::vector<Found> found;
  if (network.description.outputs == "boxes") {
    found = selected(boxes.data<float>(), scores.data<float>(), scores.get_size(), network.description);
  } else {
    const ov::Tensor labels = network.output("labels");
    const bool is_wide = labels.get_element_type() == ov::element::i64;
    for (std::size_t row = 0; row < labels.get_size(); row++) {
      const std::int64_t label = is_wide ? labels.data<std::int64_t>()[row] : labels.data<std::int32_t>()[row];
      if (label >= 0) found.push_back(found_at(int(label), scores.data<float>()[row], boxes.data<float>() + 4 * row));
    }
  }
  for (Found& each : found) {
    for (int side = 0; side < 4; side++) {
      const bool across = side % 2 == 0;
      const double original = (each.box[side] - (across ? place.offset_x : place.offset_y)) / (across ? place.scale_x : place.scale_y);
      each.box[side] = std::clamp(original, 0.0, double(across ? picture.width : picture.height));
    }
  }
  return found;
}

// --- the class of every pixel ----------------------------------------------------------------------------------------

// Where a pixel reads a grid along one side: between the cells `low` and `high`, by `share` of the way.
struct Between {
  int low, high;
  float share;
};

std::vector<Between> between(int pixels, double scale, double offset, int length, int cells, bool align_corners) {
  std::vector<Between> made;
  for (int pixel = 0; pixel < pixels; pixel++) {
    const double at_input = (pixel + 0.5) * scale + offset;
    const double at = align_corners ? (at_input - 0.5) * (cells - 1) / std::max(1, length - 1) : at_input * cells / length - 0.5;
    const double inside = std::clamp(at, 0.0, double(cells - 1));
    const int low = int(inside);
    made.push_back({low, std::min(low + 1, cells - 1), float(inside - low)});
  }
  return made;
}

// Of logits [K, h, w]: upsampled to the picture, and the highest.
std::vector<std::uint8_t> likeliest(const ov::Tensor& logits, const Description& by, const Picture& picture, const Place& place) {
  const int classes = int(logits.get_shape()[1]), rows = int(logits.get_shape()[2]), columns = int(logits.get_shape()[3]);
  const auto down = between(picture.height, place.scale_y, place.offset_y, by.height, rows, by.align_corners);
  const auto across = between(picture.width, place.scale_x, place.offset_x, by.width, columns, by.align_corners);
  const float* values = logits.data<const float>();
  std::vector<std::uint8_t> labels;
  labels.reserve(down.size() * across.size());
  std::vector<float> best(across.size());
  for (const Between& y : down) {
    labels.resize(labels.size() + across.size());
    std::uint8_t* row = &*labels.end() - across.size();
    std::fill(best.begin(), best.end(), -INFINITY);
    for (int label = 0; label < classes; label++) {
      const float* upper = values + (std::ptrdiff_t(label) * rows + y.low) * columns;
      const float* lower = values + (std::ptrdiff_t(label) * rows + y.high) * columns;
      for (std::size_t x = 0; x < across.size(); x++) {
        const auto [low, high, share] = across[x];
        const float above = upper[low] + share * (upper[high] - upper[low]);
        const float below = lower[low] + share * (lower[high] - lower[low]);
        const float value = above + y.share * (below - above);
        if (value > best[x]) best[x] = value, row[x] = std::uint8_t(label);
      }
    }
  }
  return labels;
}

// Of labels [H, W] of the input's pixels: the nearest.
std::vector<std::uint8_t> nearest(const std::uint8_t* labels, const Description& by, const Picture& picture, const Place& place) {
  std::vector<std::uint8_t> made;
  made.reserve(std::size_t(picture.width) * picture.height);
  for (int y = 0; y < picture.height; y++) {
    const int row = std::clamp(int((y + 0.5) * place.scale_y + place.offset_y), 0, by.height - 1);
    for (int x = 0; x < picture.width; x++) {
      made.push_back(labels[row * by.width + std::clamp(int((x + 0.5) * place.scale_x + place.offset_x), 0, by.width - 1)]);
    }
  }
  return made;
}

// --- the class of the picture ----------------------------------------------------------------------------------------

std::vector<Found> best_three(const ov::Tensor& scores, const Picture& picture) {
  const float* values = scores.data<const float>();
  std::vector<int> order(scores.get_size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int one, int other) { return values[one] > values[other]; });
  std::vector<Found> best;
  for (std::size_t rank = 0; rank < std::min<std::size_t>(3, order.size()); rank++) {
    best.push_back({order[rank], values[order[rank]], {0, 0, double(picture.width), double(picture.height)}});
  }
  return best;
}

}  // namespace

Results results_of(Network& network, const Picture& picture, const Place& place) {
  const Description& description = network.description;
  if (description.task == "detection") return {boxes_of(network, picture, place), {}};
  if (description.task == "classification") return {best_three(network.output("scores"), picture), {}};
  if (description.outputs == "logits") return {{}, likeliest(network.output("logits"), description, picture, place)};
  return {{}, nearest(network.output("labels").data<std::uint8_t>(), description, picture, place)};
}
