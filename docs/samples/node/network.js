// An exported .onnx file in onnxruntime. How pictures go in and results come out is the demo page's own code.

import { readFile } from "node:fs/promises";

import * as ort from "onnxruntime-web";

import { checksums, partsOf } from "../../../mnv2dense/demo/static/constants.js";
import { fit, resize } from "../../../mnv2dense/demo/static/geometry.js";
import { select } from "../../../mnv2dense/demo/static/selection.js";

export class Network {
  /** @param {string} path of a file that `tools/export.py exporter=onnx` wrote. */
  static async open(path) {
    const file = await readFile(path);
    const network = new Network();
    network.description = descriptionOf(file);
    if (!network.description) throw new Error(`${path}: was not written by tools/export.py`);
    if (network.description.task === "joint") throw new Error(`${path}: of several heads; this sample takes one`);
    network.weights = checksums(file);
    network.session = await ort.InferenceSession.create(file);
    return network;
  }

  /** @returns the input's planes, the outputs {data, dims} by name, and the results in pixels of the picture. */
  async answer(picture) {
    const { size, resize: mode } = this.description;
    const planes = resize(picture.rgba, picture.width, picture.height, size, mode);
    const outputs = await this.session.run({ images: new ort.Tensor("uint8", planes, [1, 3, ...size]) });
    const place = fit(picture.height, picture.width, size, mode);
    return { planes, outputs, results: select(this.description, outputs, picture, place) };
  }
}

// The runtime tells no metadata, so it is read from the file itself; numbers are those of onnx.proto.
const METADATA = 14; // of ModelProto
const [KEY, VALUE] = [1, 2]; // of StringStringEntryProto

/** What the file says of itself; undefined where it is none of tools/export.py. */
function descriptionOf(file) {
  try {
    for (const entry of partsOf(file, METADATA)) {
      const [key, value] = [KEY, VALUE].map((number) => Buffer.from(partsOf(entry, number)[0] ?? []).toString("utf8"));
      if (key === "mnv2dense") return JSON.parse(value);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // no protobuf at all
  }
  return undefined;
}
