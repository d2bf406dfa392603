#include "network.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <stdexcept>

namespace {

Description description_of(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  if (json.at("format") != 1) throw std::runtime_error("its description is of another format than 1");
  Description made;
  made.task = json.at("task");
  made.outputs = json.at("outputs");
  made.resize = json.at("resize");
  made.height = json.at("size").at(0);
  made.width = json.at("size").at(1);
  made.class_names = json.at("class_names").get<std::vector<std::string>>();
  const auto& selection = json.at("selection");
  if (made.task == "detection") {
    made.score_threshold = selection.at("score_threshold");
    made.nms_threshold = selection.at("nms_threshold");
    made.candidates = selection.at("candidates");
    made.limit = selection.at("limit");
  } else if (made.task == "segmentation") {
    made.align_corners = selection.at("align_corners");
    if (!selection.at("palette").is_null()) selection.at("palette").get_to(made.palette);
  } else if (made.task != "classification") {
    throw std::runtime_error("this sample takes models of one head, not task " + made.task);
  }
  return made;
}

}  // namespace

Network::Network(const std::string& path) {
  ov::Core core;
  const auto read = core.read_model(path);
  if (!read->has_rt_info("mnv2dense")) throw std::runtime_error(path + ": was not written by tools/export.py");
  json = read->get_rt_info<std::string>("mnv2dense");
  description = description_of(json);
  model = read->clone();
  read->reshape({1, 3, description.height, description.width});
  // In float32 even where the CPU could do bfloat16: as Python's Predictor computes.
  request_ = core.compile_model(read, "CPU", ov::hint::inference_precision(ov::element::f32)).create_infer_request();
}

void Network::run(const std::vector<std::uint8_t>& planes) {
  ov::Tensor input = request_.get_input_tensor();
  std::copy(planes.begin(), planes.end(), input.data<std::uint8_t>());
  request_.infer();
}
