#include "taper/nn/io/zip_file.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>
#include <unordered_set>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"

namespace taper::detail {
namespace {

static_assert(std::endian::native == std::endian::little, "the numbers of a zip archive are used in place");

constexpr std::string_view kLocalSignature = "PK\3\4", kCentralSignature = "PK\1\2", kEndSignature = "PK\5\6",
                           kEnd64Signature = "PK\6\6", kLocatorSignature = "PK\6\7";
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr uint64_t kLongestComment = UINT16_MAX;
/// In a field of 32 or 16 bits: the number is in the fields of zip64.
constexpr uint32_t kIn64 = UINT32_MAX;
constexpr uint16_t kCountIn64 = UINT16_MAX;
constexpr uint16_t kZip64Field = 1;

/// Reads numbers at given places of an archive, and refuses places outside of it.
class Archive {
 public:
  Archive(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  uint64_t size() const { return bytes_.size(); }
  std::string_view at(uint64_t begin, uint64_t size, std::string_view what) const {
    if (begin > bytes_.size() || size > bytes_.size() - begin)
      fail<FileError>("{}: {} lies at bytes {} to {}+{} of {}; the file is truncated or damaged", path_, what,
                      begin, begin, size, bytes_.size());
    return bytes_.substr(begin, size);
  }
  template <std::integral T>
  T number(uint64_t begin) const {
    T value;
    std::memcpy(&value, at(begin, sizeof value, "a number").data(), sizeof value);
    return value;
  }
  bool has(std::string_view signature, uint64_t begin) const {
    return begin <= bytes_.size() && bytes_.substr(begin).starts_with(signature);
  }
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw FileError(path_ + ": " + fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  std::string_view bytes_;
  const std::string& path_;
};

/// The directory's place and number of entries.
struct Directory {
  uint64_t begin = 0, size_bytes = 0, entries = 0;
};

Directory find_directory(const Archive& archive) {
  // The end record is the last thing but for a comment, which says how long it is.
  uint64_t end = archive.size();
  bool found = false;
  for (uint64_t tail = kEndBytes; !found && tail <= archive.size() && tail <= kEndBytes + kLongestComment;
       ++tail) {
    end = archive.size() - tail;
    found = archive.has(kEndSignature, end) && archive.number<uint16_t>(end + 20) == tail - kEndBytes;
  }
  if (!found) archive.refuse("a zip archive without its directory: the file is truncated or damaged");
  if (end >= kLocatorBytes && archive.has(kLocatorSignature, end - kLocatorBytes)) {
    const auto end64 = archive.number<uint64_t>(end - kLocatorBytes + 8);
    if (!archive.has(kEnd64Signature, end64)) archive.refuse("the zip archive's directory is damaged");
    return {.begin = archive.number<uint64_t>(end64 + 48),
            .size_bytes = archive.number<uint64_t>(end64 + 40),
            .entries = archive.number<uint64_t>(end64 + 32)};
  }
  return {.begin = archive.number<uint32_t>(end + 16),
          .size_bytes = archive.number<uint32_t>(end + 12),
          .entries = archive.number<uint16_t>(end + 10)};
}

/// The numbers of a directory entry that may have 32 or 64 bits.
struct Extent {
  uint64_t size_bytes, stored_bytes, header_at;
};

/// Replaces the numbers that are too large for their fields by those of zip64, in `extra`.
void read_zip64(const Archive& archive, std::string_view extra, Extent& extent) {
  for (uint64_t at = 0; at + 4 <= extra.size();) {
    uint16_t head[2];
    std::memcpy(head, extra.data() + at, sizeof head);
    at += sizeof head;
    if (head[1] > extra.size() - at) break;
    if (head[0] == kZip64Field) {
      std::string_view field = extra.substr(at, head[1]);
      for (uint64_t* number : {&extent.size_bytes, &extent.stored_bytes, &extent.header_at}) {
        if (*number != kIn64) continue;
        if (field.size() < sizeof *number) break;
        std::memcpy(number, field.data(), sizeof *number);
        field.remove_prefix(sizeof *number);
      }
      return;
    }
    at += head[1];
  }
  if (extent.size_bytes == kIn64 || extent.header_at == kIn64)
    archive.refuse("the zip archive's directory is damaged: it lacks a number of 64 bits");
}

/// Reads the directory entry at `at` and moves `at` behind it.
ZipMember read_entry(const Archive& archive, uint64_t& at) {
  if (!archive.has(kCentralSignature, at)) archive.refuse("the zip archive's directory is damaged");
  const auto flags = archive.number<uint16_t>(at + 8), method = archive.number<uint16_t>(at + 10);
  Extent extent = {.size_bytes = archive.number<uint32_t>(at + 24),
                   .stored_bytes = archive.number<uint32_t>(at + 20),
                   .header_at = archive.number<uint32_t>(at + 42)};
  const auto name_bytes = archive.number<uint16_t>(at + 28), extra_bytes = archive.number<uint16_t>(at + 30),
             comment_bytes = archive.number<uint16_t>(at + 32);
  const std::string_view name = archive.at(at + kCentralBytes, name_bytes, "a name in the directory");
  const std::string_view extra =
      archive.at(at + kCentralBytes + name_bytes, extra_bytes, "a field of the directory");
  at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
  if (extent.size_bytes == kIn64 || extent.stored_bytes == kIn64 || extent.header_at == kIn64)
    read_zip64(archive, extra, extent);
  if ((flags & 1) != 0) archive.refuse("{} is encrypted", quote_name(name));
  if (method != 0 || extent.size_bytes != extent.stored_bytes)
    archive.refuse("{} is compressed, which files of torch.save() never are", quote_name(name));

  if (!archive.has(kLocalSignature, extent.header_at))
    archive.refuse("{} is not where the directory says; the file is damaged", quote_name(name));
  const auto local_name_bytes = archive.number<uint16_t>(extent.header_at + 26),
             local_extra_bytes = archive.number<uint16_t>(extent.header_at + 28);
  if (archive.at(extent.header_at + kLocalBytes, local_name_bytes, "a name") != name)
    archive.refuse("{} has another name in the directory; the file is damaged", quote_name(name));
  const uint64_t begin = extent.header_at + kLocalBytes + local_name_bytes + local_extra_bytes;
  return {.name = name, .data = archive.at(begin, extent.size_bytes, quote_name(name))};
}

/// Members that overlap would let a small file hold many times its size.
void check_apart(const Archive& archive, const std::vector<ZipMember>& members) {
  std::vector<const ZipMember*> by_place;
  by_place.reserve(members.size());
  std::unordered_set<std::string_view> names;
  for (const ZipMember& member : members) {
    if (!names.insert(member.name).second) archive.refuse("{} is there twice", quote_name(member.name));
    if (!member.data.empty()) by_place.push_back(&member);
  }
  std::ranges::sort(by_place, {}, [](const ZipMember* member) { return member->data.data(); });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const std::string_view before = by_place[i - 1]->data;
    if (by_place[i]->data.data() < before.data() + before.size())
      archive.refuse("{} and {} overlap; the file is damaged", quote_name(by_place[i - 1]->name),
                     quote_name(by_place[i]->name));
  }
}

void put(std::string& text, std::unsigned_integral auto number) {
  text.append(reinterpret_cast<const char*>(&number), sizeof number);
}

constexpr uint16_t kVersion = 20, kVersion64 = 45;
constexpr uint16_t kNamesAreUtf8 = 1 << 11;
constexpr uint16_t kFirstOf1980 = 1 << 5 | 1;

bool is_large(uint64_t number) {
  return number >= kIn64;
}
uint32_t or_in_64(uint64_t number) {
  return is_large(number) ? kIn64 : uint32_t(number);
}

/// Version, flags, method, time, date: what a member's header has in both places.
void put_common(std::string& text, bool zip64) {
  put(text, zip64 ? kVersion64 : kVersion);
  put(text, kNamesAreUtf8);
  put(text, uint16_t(0));  // stored
  put(text, uint16_t(0));
  put(text, kFirstOf1980);
}

}  // namespace

std::vector<ZipMember> read_zip(std::string_view file, const std::string& path) {
  const Archive archive(file, path);
  const Directory directory = find_directory(archive);
  archive.at(directory.begin, directory.size_bytes, "the zip archive's directory");
  if (directory.entries > directory.size_bytes / kCentralBytes)
    archive.refuse("the zip archive's directory is damaged: {} bytes for {} entries", directory.size_bytes,
                   directory.entries);
  std::vector<ZipMember> members;
  members.reserve(directory.entries);
  uint64_t at = directory.begin;
  for (uint64_t i = 0; i < directory.entries; ++i) members.push_back(read_entry(archive, at));
  check_apart(archive, members);
  return members;
}

uint32_t zip_checksum(std::string_view data) {
  return uint32_t(::crc32_z(0, reinterpret_cast<const unsigned char*>(data.data()), data.size()));
}

void ZipWriter::write(std::string_view bytes) {
  write_(bytes);
  written_ += bytes.size();
}

void ZipWriter::add(const std::string& name, std::string_view data) {
  begin(name, data.size(), zip_checksum(data));
  write_data(data);
}

void ZipWriter::begin(const std::string& name, uint64_t size_bytes, uint32_t checksum) {
  entries_.push_back({.name = name, .size_bytes = size_bytes, .header_at = written_, .checksum = checksum});
  const bool zip64 = is_large(size_bytes);
  std::string extra;
  if (zip64) {
    put(extra, kZip64Field);
    put(extra, uint16_t(2 * sizeof size_bytes));
    put(extra, size_bytes);
    put(extra, size_bytes);
  }
  // A field that readers skip moves the data to its place. PyTorch gives it the same name, "FB".
  constexpr uint64_t kFieldHead = 4;
  const uint64_t unpadded = written_ + kLocalBytes + name.size() + extra.size() + kFieldHead;
  const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  extra += "FB";
  put(extra, uint16_t(padding));
  extra.append(padding, '\0');

  std::string header(kLocalSignature);
  put_common(header, zip64);
  put(header, checksum);
  put(header, or_in_64(size_bytes));
  put(header, or_in_64(size_bytes));
  put(header, uint16_t(name.size()));
  put(header, uint16_t(extra.size()));
  header += name;
  header += extra;
  write(header);
}

void ZipWriter::finish() {
  const uint64_t directory = written_;
  for (const Entry& entry : entries_) {
    std::string numbers;
    for (const uint64_t number : {entry.size_bytes, entry.size_bytes, entry.header_at})
      if (is_large(number)) put(numbers, number);
    std::string extra;
    if (!numbers.empty()) {
      put(extra, kZip64Field);
      put(extra, uint16_t(numbers.size()));
      extra += numbers;
    }
    std::string header(kCentralSignature);
    put(header, kVersion64);  // made by
    put_common(header, !numbers.empty());
    put(header, entry.checksum);
    put(header, or_in_64(entry.size_bytes));
    put(header, or_in_64(entry.size_bytes));
    put(header, uint16_t(entry.name.size()));
    put(header, uint16_t(extra.size()));
    header.append(10, '\0');  // no comment, the first disk, no attributes
    put(header, or_in_64(entry.header_at));
    header += entry.name;
    header += extra;
    write(header);
  }
  const uint64_t size_bytes = written_ - directory, count = entries_.size();
  std::string end;
  if (is_large(directory) || is_large(size_bytes) || count >= kCountIn64) {
    const uint64_t end64 = written_;
    end += kEnd64Signature;
    put(end, kEnd64Bytes - 12);  // what follows
    put(end, kVersion64);
    put(end, kVersion64);
    put(end, uint64_t(0));  // the first disk, twice
    for (const uint64_t number : {count, count, size_bytes, directory}) put(end, number);
    end += kLocatorSignature;
    put(end, uint32_t(0));
    put(end, end64);
    put(end, uint32_t(1));
  }
  end += kEndSignature;
  put(end, uint32_t(0));
  const auto short_count = uint16_t(std::min<uint64_t>(count, kCountIn64));
  put(end, short_count);
  put(end, short_count);
  put(end, or_in_64(size_bytes));
  put(end, or_in_64(directory));
  put(end, uint16_t(0));
  write(end);
}

}  // namespace taper::detail
