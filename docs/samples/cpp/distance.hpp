// How far two sets of answers to an exam are apart.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

// Of each picture what the outputs hold at the exam's places, by output, and under "results" what was made of them.
using Answers = std::vector<nlohmann::json>;

// Of an output: root of the summed squares of differences, as a share of how the right answers lie about their mean.
double number_distance(const std::string& output, const Answers& ours, const Answers& theirs, const Answers& right);

// Of the best 20, which are paired with the one of their class that they overlap most; each counts by its score above the
// threshold.
double box_distance(const Answers& ours, const Answers& theirs, double threshold);

// The share of classes that differ: of a label map's places, of pixels on the grid, or of the best three of the picture.
double label_distance(const std::string& output, const Answers& ours, const Answers& theirs);
