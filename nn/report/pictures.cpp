#include "taper/nn/report/pictures.h"

#include <algorithm>
#include <cmath>

#include "taper/core/base/error.h"
#include "taper/nn/data/resize.h"
#include "taper/nn/report/bitmap_font.h"

namespace taper {
namespace {

constexpr Colour kPaper{255, 255, 255}, kInk{30, 30, 30}, kGood{20, 125, 50}, kBad{195, 40, 30};
constexpr Colour kOnDiagonal{31, 91, 170}, kOffDiagonal{200, 50, 35};
constexpr int kGap = 8;

Image blank(int width, int height) {
  Image image(width, height);
  fill_box(image, 0, 0, width, height, kPaper);
  return image;
}

void paste(Image& sheet, int x, int y, const Image& image) {
  for (int row = 0; row < image.height; ++row)
    std::copy_n(image.row(row), size_t(image.width) * 3, sheet.row(y + row) + 3 * x);
}

/// Returns the colour's mix with white: all of it for 1.
Colour tint(Colour colour, double share) {
  const auto mix = [&](uint8_t part) { return uint8_t(std::lround(255 - (255 - part) * share)); };
  return {mix(colour.red), mix(colour.green), mix(colour.blue)};
}

/// Returns the first characters of the text, as many as `width` pixels hold.
std::string cut_to(const std::string& text, int width) {
  return text.substr(0, size_t(std::max(width / kLetterWidth, 0)));
}

/// Where the parts of a confusion matrix's picture are.
struct MatrixLayout {
  explicit MatrixLayout(const std::vector<std::string>& class_names)
      : classes(int64_t(class_names.size())), side(int(std::min<int64_t>(classes, 1024))) {
    cell = std::clamp(640 / side, 1, 32);
    has_names = cell >= 13;
    if (!has_names) return;
    size_t longest = 0;
    for (const std::string& name : class_names) longest = std::max(longest, name.size());
    left = int(std::min<size_t>(longest, 20) + 4) * kLetterWidth;
    top = 2 * kLetterHeight + 4;
  }

  int place(int64_t label) const { return int(label * side / classes); }

  int64_t classes;
  int side;  ///< cells in a row
  int cell = 1, left = 0, top = 0;
  bool has_names = false;
};

void draw_names(Image& image, const MatrixLayout& layout, const std::vector<std::string>& class_names) {
  draw_text(image, 2, 1, "true class in rows, predicted in columns", kInk);
  const int middle = (layout.cell - kLetterHeight) / 2 + 1;
  for (int i = 0; i < layout.side; ++i) {
    const std::string number = std::to_string(i);
    draw_text(image, 2, layout.top + i * layout.cell + middle,
              cut_to(number + " " + class_names[size_t(i)], layout.left - 2), kInk);
    draw_text(image,
              layout.left + i * layout.cell + (layout.cell - int(number.size()) * kLetterWidth) / 2 + 1,
              kLetterHeight + 3, number, kInk);
  }
}

void draw_cell(Image& image, const MatrixLayout& layout, int row, int column, int64_t count, double share) {
  const int x = layout.left + column * layout.cell, y = layout.top + row * layout.cell;
  const Colour colour = row == column ? kOnDiagonal : kOffDiagonal;
  // A rare mistake is still to be seen.
  fill_box(image, x, y, layout.cell, layout.cell, tint(colour, 0.15 + 0.85 * share));
  const std::string text = std::to_string(count);
  const int width = int(text.size()) * kLetterWidth;
  if (layout.cell < 26 || width > layout.cell) return;
  draw_text(image, x + (layout.cell - width) / 2 + 1, y + (layout.cell - kLetterHeight) / 2 + 1, text,
            share > 0.5 ? kPaper : kInk);
}

}  // namespace

Image contact_sheet(const std::vector<CaptionedImage>& images) {
  TAPER_CHECK(!images.empty(), "contact_sheet: there are no images");
  const int side = std::clamp(images[0].image.width, 96, 160), cell = side + kGap;
  const int columns = int(std::min<size_t>(images.size(), 4)), rows = int((images.size() + 3) / 4);
  const int cell_height = cell + 2 * kLetterHeight + 4;
  Image sheet = blank(columns * cell + kGap, rows * cell_height + kGap);
  for (size_t i = 0; i < images.size(); ++i) {
    const CaptionedImage& one = images[i];
    const int x = kGap + int(i % 4) * cell, y = kGap + int(i / 4) * cell_height;
    paste(sheet, x, y, resize(one.image, side, side));
    draw_text(sheet, x, y + side + 3, cut_to(one.first_line, side), kInk);
    draw_text(sheet, x, y + side + 4 + kLetterHeight, cut_to(one.second_line, side),
              one.is_right ? kGood : kBad);
  }
  return sheet;
}

Image confusion_picture(const std::map<std::pair<int64_t, int64_t>, int64_t>& counts,
                        const std::vector<std::string>& class_names) {
  TAPER_CHECK(!class_names.empty(), "confusion_picture: there are no classes");
  const MatrixLayout layout(class_names);
  std::map<std::pair<int, int>, int64_t> cells;
  std::vector<int64_t> totals(size_t(layout.side), 0);
  for (const auto& [classes, count] : counts) {
    if (classes.first >= layout.classes || classes.second >= layout.classes) continue;
    const int row = layout.place(classes.first);
    cells[{row, layout.place(classes.second)}] += count;
    totals[size_t(row)] += count;
  }
  const int extent = layout.side * layout.cell;
  // Wide enough for the line at the top.
  Image image = blank(std::max(layout.left + extent + 1, layout.has_names ? 41 * kLetterWidth : 0),
                      layout.top + extent + 1);
  if (layout.has_names) draw_names(image, layout, class_names);
  for (const auto& [at, count] : cells)
    draw_cell(image, layout, at.first, at.second, count, double(count) / double(totals[size_t(at.first)]));
  return image;
}

}  // namespace taper
