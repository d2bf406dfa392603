// An exported .xml, with its .bin beside it, in OpenVINO.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

#include "description.hpp"

class Network {
 public:
  // Throws std::runtime_error for other files than `tools/export.py exporter=openvino` writes.
  explicit Network(const std::string& path);

  // uint8 [3, H, W] of one picture. The tensor of a name is valid until the next run.
  void run(const std::vector<std::uint8_t>& planes);
  ov::Tensor output(const std::string& name) { return request_.get_tensor(name); }

  Description description;
  std::string json;                        // what the description was read from; it holds the exam, too
  std::shared_ptr<const ov::Model> model;  // as stored, before anything is compiled

 private:
  ov::InferRequest request_;
};
