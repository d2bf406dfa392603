// The constants that an ONNX file stores, and checksums of them: onnx.proto read no further than that takes.

const GRAPH = 7; // of ModelProto
const INITIALIZER = 5; // of GraphProto
const NAME = 8; // of TensorProto
const RAW_DATA = 9;
const LEAST_BYTES = 64; // of a constant that is looked at: more

/**
 * @param {Uint8Array} file an ONNX file.
 * @returns {Map<string, number>} name -> crc32 of its bytes as stored, of constants of more than 64 bytes; empty where it is no such file.
 */
export function checksums(file) {
  const found = new Map();
  try {
    for (const graph of partsOf(file, GRAPH)) {
      for (const tensor of partsOf(graph, INITIALIZER)) {
        const [name] = partsOf(tensor, NAME);
        const [content] = partsOf(tensor, RAW_DATA);
        if (!name || !content || content.length <= LEAST_BYTES) continue;
        const key = new TextDecoder().decode(name);
        found.set(key, crc32(content, found.get(key) ?? 0));
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a damaged length
  }
  return found;
}

/** CRC-32 as in zip and PNG, going on from an earlier one. */
export function crc32(bytes, before = 0) {
  let crc = ~before;
  for (let at = 0; at < bytes.length; at++) crc = TABLE[(crc ^ bytes[at]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** The parts of a message that have this number and are bytes themselves: texts, messages, raw data. */
export function partsOf(message, wanted) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= message.length) throw new RangeError("the file ends within a number");
      const byte = message[at++];
      value += (byte & 127) * factor; // beyond 2^53 inexact, which lengths never are
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length > message.length) throw new RangeError("the file ends within a part");
      if (Math.floor(tag / 8) === wanted) found.push(message.subarray(at, at + length));
      at += length;
    } else throw new RangeError(`a part of kind ${kind}`);
  }
  return found;
}
