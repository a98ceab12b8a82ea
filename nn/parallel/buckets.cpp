#include "taper/nn/parallel/buckets.h"

namespace taper {

std::vector<size_t> cut_buckets(const std::vector<BucketEntry>& row, const DataParallelOptions& options) {
  std::vector<size_t> ends;
  int64_t filled = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const int64_t limit = ends.empty() ? options.first_bucket_bytes : options.bucket_bytes;
    const bool fits = i > 0 && row[i].dtype == row[i - 1].dtype && row[i].device == row[i - 1].device &&
                      filled + row[i].bytes <= limit;
    if (!fits && i > 0) {
      ends.push_back(i);
      filled = 0;
    }
    filled += row[i].bytes;
  }
  if (!row.empty()) ends.push_back(row.size());
  return ends;
}

}  // namespace taper
