#include "picture.hpp"

#include <cstdio>  // before jpeglib.h, which wants FILE

#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace {

// EXIF's tag 274, 1 to 8, out of the first APP1 segment; 1, upright, where there is none.
int orientation_of(const jpeg_decompress_struct& jpeg) {
  for (const jpeg_marker_struct* marker = jpeg.marker_list; marker; marker = marker->next) {
    if (marker->data_length < 14 || !std::equal(marker->data, marker->data + 4, "Exif")) continue;
    const std::uint8_t* tiff = marker->data + 6;
    const std::size_t length = marker->data_length - 6;
    const bool little = tiff[0] == 'I';
    const auto number = [&](std::size_t at, int bytes) {
      std::size_t value = 0;
      for (int i = 0; i < bytes && at + bytes <= length; i++) {
        value |= static_cast<std::size_t>(tiff[at + i]) << 8 * (little ? i : bytes - 1 - i);
      }
      return value;
    };
    const std::size_t directory = number(4, 4);
    for (std::size_t entry = 0; entry < number(directory, 2); entry++) {
      const std::size_t at = directory + 2 + 12 * entry;
      if (number(at, 2) == 274) return static_cast<int>(number(at + 8, 2));
    }
  }
  return 1;
}

Picture upright(Picture stored, int orientation) {
  if (orientation < 2 || orientation > 8) return stored;
  const bool turned = orientation >= 5;  // rows become columns
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture made{turned ? stored.height : stored.width, turned ? stored.width : stored.height, stored.rgb};
  for (int y = 0; y < made.height; y++) {
    for (int x = 0; x < made.width; x++) {
      const int column = turned ? y : x, row = turned ? x : y;
      std::copy_n(stored.at(from_right ? stored.width - 1 - column : column, from_below ? stored.height - 1 - row : row),
                  3, made.at(x, y));
    }
  }
  return made;
}

Picture decode_jpeg(const std::vector<std::uint8_t>& file) {
  jpeg_error_mgr errors;
  jpeg_decompress_struct jpeg;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = [](j_common_ptr failed) {
    char message[JMSG_LENGTH_MAX];
    failed->err->format_message(failed, message);
    jpeg_destroy(failed);
    throw std::runtime_error(message);
  };
  jpeg_create_decompress(&jpeg);
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_mem_src(&jpeg, file.data(), file.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  Picture picture{static_cast<int>(jpeg.output_width), static_cast<int>(jpeg.output_height), {}};
  picture.rgb.resize(std::size_t{3} * jpeg.output_width * jpeg.output_height);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = picture.at(0, static_cast<int>(jpeg.output_scanline));
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  const int orientation = orientation_of(jpeg);
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return upright(std::move(picture), orientation);
}

}  // namespace

Picture decode_png(const std::vector<std::uint8_t>& file) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&image, file.data(), file.size())) throw std::runtime_error(image.message);
  image.format = PNG_FORMAT_RGB;
  Picture picture{static_cast<int>(image.width), static_cast<int>(image.height), {}};
  picture.rgb.resize(PNG_IMAGE_SIZE(image));
  const png_color white{255, 255, 255};  // under what is transparent
  if (!png_image_finish_read(&image, &white, picture.rgb.data(), 0, nullptr)) throw std::runtime_error(image.message);
  return picture;
}

Picture read_picture(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::vector<std::uint8_t> file(std::istreambuf_iterator<char>{stream}, {});
  if (file.size() < 4) throw std::runtime_error(path + ": no such file, or an empty one");
  try {
    if (file[0] == 0xFF && file[1] == 0xD8) return decode_jpeg(file);
    return decode_png(file);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path + ": neither JPEG nor PNG, or damaged (" + error.what() + ")");
  }
}

void write_png(const Picture& picture, const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_RGB;
  if (!png_image_write_to_file(&image, path.c_str(), 0, picture.rgb.data(), 0, nullptr)) {
    throw std::runtime_error(path + ": cannot be written (" + image.message + ")");
  }
}
