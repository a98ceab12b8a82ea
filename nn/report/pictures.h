#pragma once
// Pictures of how a classifier does: samples with what it said of them, and the confusion matrix.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "taper/nn/data/image.h"

namespace taper {

struct CaptionedImage {
  Image image;
  std::string first_line, second_line;  ///< ASCII, cut to the picture's width
  bool is_right = false;                ///< the second line is green, else red
};

/// Returns the images on one sheet, four in a row, each scaled to 96 to 160 pixels and above its caption. Throws
/// Error for no images.
Image contact_sheet(const std::vector<CaptionedImage>& images);

/// Returns the confusion matrix as a picture: a row for each true class, a column for each predicted one. The
/// colour is the share of the row: blue on the diagonal, red elsewhere. Up to 49 classes have their numbers and
/// names, up to 24 their counts; more than 1024 share pixels. counts: images of class `first` taken for
/// `second`, both below `class_names.size()`, or left out.
Image confusion_picture(const std::map<std::pair<int64_t, int64_t>, int64_t>& counts,
                        const std::vector<std::string>& class_names);

}  // namespace taper
