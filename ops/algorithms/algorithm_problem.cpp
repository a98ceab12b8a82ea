#include "taper/ops/algorithms/algorithm_problem.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>

#include "taper/core/base/cpu_level.h"
#include "taper/core/base/parallel.h"
#include "taper/core/gpu/libraries.h"
#include "taper/core/gpu/runtime.h"
#include "taper/version.h"

namespace taper {
namespace {

// A problem is: op, pass, device and threads; then for each field its name, a header and the values.

enum class Kind : uint8_t { kTensor, kUndefinedTensor, kDType, kWord, kNumbers };

constexpr int kFirstField = 3;

uint64_t word_of(Literal literal) {
  return std::bit_cast<uintptr_t>(literal.c_str());
}

const char* text_of(uint64_t word) {
  return std::bit_cast<const char*>(uintptr_t(word));
}

uint64_t header(Kind kind, int64_t count, DType dtype = {}) {
  return uint64_t(kind) | uint64_t(dtype) << 8 | uint64_t(count) << 16;
}
Kind kind_of(uint64_t header) {
  return Kind(header & 0xFF);
}
DType dtype_in(uint64_t header) {
  return DType(header >> 8 & 0xFF);
}
int64_t count_in(uint64_t header) {
  return int64_t(header >> 16);
}

/// Folds the 128 bits of a product: every bit of both factors reaches every bit of the result. (wyhash)
uint64_t multiply_fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return uint64_t(product) ^ uint64_t(product >> 64);
}

bool same_strides(const Shape& shape, const Strides& a, const Strides& b) {
  for (int64_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1 && a[i] != b[i]) return false;
  }
  return true;
}

template <class Values>
std::string joined(const Values& values) {
  return fmt::format("{}", fmt::join(values, ","));
}

std::string tensor_text(DType dtype, const Shape& shape, const Strides& strides) {
  const std::string text = fmt::format("{}[{}]", name(dtype), joined(shape));
  if (same_strides(shape, strides, strides_for(shape))) return text;
  if (shape.size() == 4 && same_strides(shape, strides, strides_for(shape, kChannelsLast)))
    return text + ":channels_last";
  return fmt::format("{}:strides({})", text, joined(strides));
}

/// The CPU's model as the system reports it; "unknown CPU" if it does not.
const std::string& cpu_model() {
  static const std::string& model = *new std::string([] {  // read in destructors of static objects, too
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
      const size_t colon = line.find(": ");
      if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
    }
    return std::string("unknown CPU");
  }());
  return model;
}

/// ", CUDA runtime 13.0, cuDNN 9.19.0, ..."; nothing in the simulated build.
const std::string& gpu_libraries() {
  static const std::string& text = *new std::string([] {
    std::string joined;
    for (const gpu::Library& library : gpu::libraries())
      joined += fmt::format(", {} {}", library.name, library.version);
    return joined;
  }());
  return text;
}

}  // namespace

int64_t common_alignment(std::initializer_list<const void*> addresses) {
  uintptr_t bits = 256;
  for (const void* address : addresses) bits |= std::bit_cast<uintptr_t>(address);
  return int64_t(bits & -bits);
}

Problem::Problem(Literal op, Literal pass, Device device) {
  const auto threads = device.is_cpu() ? uint64_t(num_threads()) : 0;
  push(word_of(op));
  push(word_of(pass));
  push(uint64_t(device.type) | uint64_t(device.index) << 8 | threads << 32);
}

inline void Problem::push(uint64_t word) {
  TAPER_CHECK(size_ < kMostWords,
              "{}: a problem has more than {} words; leave out what follows from the rest",
              text_of(words_[0]), kMostWords);
  words_[size_++] = word;
}

Problem& Problem::add(Literal name, const Tensor& x) {
  push(word_of(name));
  if (!x.defined()) {
    push(header(Kind::kUndefinedTensor, 0));
    return *this;
  }
  push(header(Kind::kTensor, x.dim(), x.dtype()));
  for (const int64_t size : x.shape()) push(uint64_t(size));
  for (const int64_t stride : x.strides()) push(uint64_t(stride));
  return *this;
}

Problem& Problem::add(Literal name, DType dtype) {
  push(word_of(name));
  push(header(Kind::kDType, 0, dtype));
  return *this;
}

Problem& Problem::add(Literal name, Literal word) {
  push(word_of(name));
  push(header(Kind::kWord, 1));
  push(word_of(word));
  return *this;
}

Problem& Problem::add(Literal name, std::span<const int64_t> numbers) {
  push(word_of(name));
  push(header(Kind::kNumbers, int64_t(numbers.size())));
  for (const int64_t number : numbers) push(uint64_t(number));
  return *this;
}

Device Problem::device() const {
  return {DeviceType(words_[2] & 0xFF), int(words_[2] >> 8 & 0xFFFF)};
}

uint64_t Problem::hash() const {
  uint64_t hash = uint64_t(size_);
  for (int i = 0; i + 1 < size_; i += 2)
    hash = multiply_fold(words_[i] ^ hash ^ 0x2d358dccaa6c78a5, words_[i + 1] ^ 0x8bb84b93962eacc9);
  return size_ % 2 == 0 ? hash : multiply_fold(words_[size_ - 1] ^ hash, 0x4b33a62ed433d4a3);
}

bool Problem::operator==(const Problem& other) const {
  return size_ == other.size_ && std::memcmp(words_, other.words_, size_t(size_) * sizeof(words_[0])) == 0;
}

std::string Problem::str() const {
  std::string text = fmt::format("{} {}", text_of(words_[0]), text_of(words_[1]));
  for (int i = kFirstField; i < size_;) {
    const char* field = text_of(words_[i]);
    const uint64_t head = words_[i + 1];
    const int64_t count = count_in(head);
    const auto* values = reinterpret_cast<const int64_t*>(words_ + i + 2);
    i += 2;
    text += fmt::format(" {}=", field);
    switch (kind_of(head)) {
      case Kind::kTensor:
        text += tensor_text(dtype_in(head), Shape(std::span(values, size_t(count))),
                            Strides(std::span(values + count, size_t(count))));
        i += int(2 * count);
        break;
      case Kind::kUndefinedTensor:
        text += "none";
        break;
      case Kind::kDType:
        text += name(dtype_in(head));
        break;
      case Kind::kWord:
        text += text_of(words_[i++]);
        break;
      case Kind::kNumbers:
        text += joined(std::span(values, size_t(count)));
        i += int(count);
        break;
    }
  }
  return text;
}

std::string Problem::environment() const {
  if (device().is_cpu())
    return fmt::format("{}, {}, {} threads, Taper {}", cpu_model(), taper::name(cpu_level()), words_[2] >> 32,
                       kVersion);
  return fmt::format("{}, Taper {}{}", gpu::properties(device().index).name, kVersion, gpu_libraries());
}

}  // namespace taper
