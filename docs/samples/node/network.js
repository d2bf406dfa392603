// An exported .onnx file in onnxruntime. How pictures go in and results come out is the demo page's own code.

import { readFile } from "node:fs/promises";
import { crc32 } from "node:zlib";

import * as ort from "onnxruntime-web";

import { fit, resize } from "../../../mnv2dense/demo/static/geometry.js";
import { select } from "../../../mnv2dense/demo/static/selection.js";

export class Network {
  /** @param {string} path of a file that `tools/export.py exporter=onnx` wrote. */
  static async open(path) {
    const file = await readFile(path);
    const network = new Network();
    ({ description: network.description, weights: network.weights } = contentsOf(file));
    if (!network.description) throw new Error(`${path}: was not written by tools/export.py`);
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

// The runtime tells neither metadata nor weights, so they are read from the file itself; numbers are those of onnx.proto.
const MODEL = { graph: 7, metadata: 14 };
const ENTRY = { key: 1, value: 2 };
const GRAPH = { initializer: 5 };
const TENSOR = { name: 8, raw: 9 };

/** The description as an object, and of each constant the crc32 of its bytes. */
function contentsOf(file) {
  let description;
  const weights = new Map();
  for (const [field, value] of fieldsOf(file)) {
    if (field === MODEL.metadata) {
      const entry = Object.fromEntries(fieldsOf(value));
      if (text(entry[ENTRY.key]) === "mnv2dense") description = JSON.parse(text(entry[ENTRY.value]));
    } else if (field === MODEL.graph) {
      for (const [part, bytes] of fieldsOf(value)) {
        if (part !== GRAPH.initializer) continue;
        const tensor = Object.fromEntries(fieldsOf(bytes));
        if (tensor[TENSOR.raw]) weights.set(text(tensor[TENSOR.name]), crc32(tensor[TENSOR.raw]));
      }
    }
  }
  return { description, weights };
}

/** [number, value] of each field of a protobuf message; a value is a number or a part of `bytes`. */
function* fieldsOf(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, kind] = [key >>> 3, key & 7];
    if (kind === 0) {
      yield [number, varint()];
    } else {
      const length = { 1: 8, 2: undefined, 5: 4 }[kind] ?? varint();
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    }
  }
}

function text(bytes) {
  return Buffer.from(bytes).toString("utf8");
}
