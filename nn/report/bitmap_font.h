#pragma once
// Letters for pictures: enough to write class names and numbers beside images.

#include <cstdint>
#include <string_view>

#include "taper/nn/data/image.h"

namespace taper {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
};

constexpr int kLetterWidth = 6, kLetterHeight = 8;  ///< with the space between letters and lines

/// Writes the text with its upper left corner at (x, y), cut where the image ends. What is not printable ASCII
/// becomes "?", one for each character.
void draw_text(Image& image, int x, int y, std::string_view text, Colour colour);

/// Fills a rectangle, cut where the image ends.
void fill_box(Image& image, int x, int y, int width, int height, Colour colour);

}  // namespace taper
