import sharp from "sharp";

/**
 * Upright, and the numbers that the file holds: the model was trained on those.
 * @param {string | Buffer} source a path, or a file's bytes: JPEG, PNG, WebP, ...
 * @returns {Promise<{width: number, height: number, rgba: Buffer}>} rgba has width * height * 4 bytes.
 */
export async function readPicture(source) {
  const image = sharp(source, { ignoreIcc: true }).autoOrient().flatten({ background: "white" }).toColourspace("srgb");
  try {
    const { data, info } = await image.ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, rgba: data };
  } catch (error) {
    throw new Error(`${source}: ${error.message}`);
  }
}
