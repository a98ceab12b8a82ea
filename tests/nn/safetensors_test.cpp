// Safetensors files: what is saved and loaded, and damaged files of every kind.

#include "taper/nn/io/safetensors.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <limits>
#include <random>

#include "file_bytes.h"
#include "oracle.h"
#include "taper/core/base/allocator.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"

namespace taper {
namespace {

/// Returns a whole file with this header and data.
std::string file_bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

template <class T>
std::vector<T> values_of(const Tensor& x) {
  return std::vector<T>(x.data<T>(), x.data<T>() + x.numel());
}

template <class T>
Tensor made_of(const std::vector<double>& values, const Shape& shape) {
  Tensor x = empty(shape, {.dtype = dtype_of<T>});
  std::transform(values.begin(), values.end(), x.data<T>(), [](double v) { return T(v); });
  return x;
}

/// Returns what tests/oracle/safetensors_oracle.py writes, too.
Safetensors all_dtypes() {
  Tensor bools = empty({6}, {.dtype = kBool});
  for (int i = 0; i < 6; ++i) bools.data<bool>()[i] = i % 2 == 0;
  const double third = 3.0;
  TensorMap tensors = {
      {"f32", made_of<float>({-1, -0.5, 0, 0.5, 1, 1.5}, {2, 3})},
      {"f64", made_of<double>({0, 1 / third, 2 / third, 1, 4 / third, 5 / third}, {3, 2})},
      {"f16", made_of<Half>({0, 0.25, 0.5, 0.75, 1, 1.25}, {6})},
      {"bf16", made_of<BFloat16>({0, 0.25, 0.5, 0.75, 1, 1.25}, {1, 6})},
      {"i64", empty({6, 1}, {.dtype = kInt64})},
      {"i32", made_of<int32_t>({0, -7, -14, -21, -28, -35}, {2, 1, 3})},
      {"u8", made_of<uint8_t>({0, 50, 100, 150, 200, 250}, {6})},
      {"bool", bools},
      {"scalar", made_of<float>({2.5}, {})},
      {"empty", made_of<float>({}, {0, 4})},
      {"größe \"und\" 大小", made_of<uint8_t>({9}, {1})},
  };
  for (int64_t i = 0; i < 6; ++i) tensors["i64"].data<int64_t>()[i] = i - (int64_t(1) << 40);
  Safetensors file;
  file.tensors = tensors;
  file.metadata = {{"format", "pt"}, {"note", "two\nlines"}};
  return file;
}

void check_equal(const Safetensors& actual, const Safetensors& expected) {
  CHECK(actual.metadata == expected.metadata);
  REQUIRE(actual.tensors.size() == expected.tensors.size());
  for (const auto& [name, tensor] : expected.tensors) {
    INFO(name);
    REQUIRE(actual.tensors.contains(name));
    const Tensor& got = actual.tensors.at(name);
    CHECK(got.dtype() == tensor.dtype());
    REQUIRE(got.shape() == tensor.shape());
    CHECK((tensor.numel() == 0 || std::memcmp(got.data_ptr(), tensor.data_ptr(), tensor.size_bytes()) == 0));
  }
}

/// Loads `bytes` as a file. Returns the message of the FileError, or "" if it was accepted.
std::string refusal(const TemporaryFolder& folder, const std::string& bytes) {
  const std::string path = folder / "hostile.safetensors";
  write_bytes(path, bytes);
  try {
    const Safetensors loaded = load_safetensors(path);
    uint64_t sum = 0;  // every byte must be readable
    for (const auto& [name, tensor] : loaded.tensors) {
      const auto* data = static_cast<const uint8_t*>(tensor.data_ptr());
      for (size_t i = 0; i < tensor.size_bytes(); ++i) sum += data[i];
    }
    return sum == std::numeric_limits<uint64_t>::max() ? "unreachable" : "";
  } catch (const FileError& error) {
    const std::string message = error.what();
    CHECK(message.rfind(path, 0) == 0);
    CHECK(message.find('\n') == std::string::npos);
    return message.substr(path.size());
  }
}

TEST_CASE("safetensors: a file of every dtype comes back as it was saved") {
  const TemporaryFolder folder;
  const std::string path = folder / "all.safetensors";
  const Safetensors saved = all_dtypes();
  save_safetensors(path, saved.tensors, saved.metadata);
  check_equal(load_safetensors(path), saved);
  CHECK(folder.files() == std::vector<std::string>{"all.safetensors"});  // no temporary file stays

  save_safetensors(path, {});  // replaces it
  CHECK(load_safetensors(path).tensors.empty());
  CHECK(load_safetensors(path).metadata.empty());
}

TEST_CASE("safetensors: tensors of any strides are written row-major") {
  const TemporaryFolder folder;
  const Tensor x = from_vector<float>({0, 1, 2, 3, 4, 5, 6, 7}, {1, 2, 2, 2});
  save_safetensors(folder / "x", {{"channels_last", ops::contiguous(x, kChannelsLast)},
                                  {"expanded", views::expand(from_vector<float>({8}), {3})},
                                  {"sliced", views::slice(x, 3, 1, 2)}});
  const TensorMap loaded = load_safetensors(folder / "x").tensors;
  CHECK(values_of<float>(loaded.at("channels_last")) == std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(values_of<float>(loaded.at("expanded")) == std::vector<float>{8, 8, 8});
  CHECK(loaded.at("sliced").shape() == Shape{1, 2, 2, 1});
  CHECK(values_of<float>(loaded.at("sliced")) == std::vector<float>{1, 3, 5, 7});
}

TEST_CASE("safetensors: reads and writes the same bytes as the oracle's own writer", "[oracle]") {
  const auto oracle = oracle_dir("safetensors");
  if (!oracle) return;
  const Safetensors expected = all_dtypes();
  check_equal(load_safetensors(*oracle + "/all_dtypes.safetensors"), expected);
  const TemporaryFolder folder;
  save_safetensors(folder / "ours", expected.tensors, expected.metadata);
  CHECK(read_bytes(folder / "ours") == read_bytes(*oracle + "/all_dtypes.safetensors"));
}

TEST_CASE("safetensors: tensors view the mapping, outlive the map of them, and never write to the file") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  save_safetensors(path, {{"x", from_vector<float>({1, 2, 3})}, {"y", from_vector<float>({4})}});
  const int64_t before = allocator_for(Device()).stats().allocation_count;
  Tensor x = load_safetensors(path).tensors.at("x");
  CHECK(allocator_for(Device()).stats().allocation_count == before);
  x.data<float>()[0] = 9;
  CHECK(values_of<float>(x) == std::vector<float>{9, 2, 3});
  CHECK(values_of<float>(load_safetensors(path).tensors.at("x")) == std::vector<float>{1, 2, 3});

  // A file that is replaced while mapped keeps its old content for those that map it.
  save_safetensors(path, {{"x", from_vector<float>({7})}});
  CHECK(values_of<float>(x) == std::vector<float>{9, 2, 3});
}

TEST_CASE("safetensors: data that its header leaves unaligned is copied") {
  const TemporaryFolder folder;
  const std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  for (int padding = 0; padding < 8; ++padding) {
    const float values[] = {1.5f, -2};
    std::string data(reinterpret_cast<const char*>(values), sizeof values);
    write_bytes(folder / "x", file_bytes(header + std::string(size_t(padding), ' '), data));
    const Tensor x = load_safetensors(folder / "x").tensors.at("x");
    CHECK(reinterpret_cast<uintptr_t>(x.data_ptr()) % sizeof(float) == 0);
    CHECK(values_of<float>(x) == std::vector<float>{1.5f, -2});
  }
}

TEST_CASE("safetensors: each kind of damage is named") {
  struct Case {
    std::string header;
    size_t data_bytes;
    std::string message;
  };
  const auto entry = [](const std::string& fields) { return "{\"x\":{" + fields + "}}"; };
  const std::string good = R"("dtype":"U8","shape":[4],"data_offsets":[0,4])";
  const std::vector<Case> cases = {
      {"[]", 0, "does not begin with {"},
      {"", 0, "does not begin with {"},
      {"{", 0, "not valid JSON at its byte"},
      {"{} x", 0, "not valid JSON at its byte"},
      {"{\"\xff\":1}", 0, "not valid JSON at its byte"},
      {R"({"x":1})", 0, "a number under 'x' where an object belongs"},
      {R"({"x":[]})", 0, "a list under 'x'"},
      {R"({"__metadata__":{"a":1}})", 0, "metadata has a number under 'a'"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", 0, "metadata has the name 'a' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "the name '__metadata__' twice"},
      {R"({"__metadata__":{"a":{}}})", 0, "metadata has an object under 'a'"},
      {"{\"x\":{" + good + "},\"x\":{" + good + "}}", 4, "the name 'x' twice"},
      {entry(good + R"(,"dtype":"U8")"), 4, "its dtype twice"},
      {entry(good + R"(,"color":"red")"), 4, "unknown field 'color'"},
      {entry(R"("shape":[4],"data_offsets":[0,4])"), 4, "has no dtype"},
      {entry(R"("dtype":"U8","data_offsets":[0,4])"), 4, "has no shape"},
      {entry(R"("dtype":"U8","shape":[4])"), 4, "has no data_offsets"},
      {entry(R"("dtype":"f8","shape":[4],"data_offsets":[0,4])"), 4, "dtype 'f8'"},
      {entry(R"("dtype":"F8_E4M3","shape":[4],"data_offsets":[0,5])"), 4, "bytes 0 to 5 of 4"},
      {entry(R"("dtype":"U8","shape":[-4],"data_offsets":[0,4])"), 4, "a negative number in its shape"},
      {entry(R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])"), 4, "a fraction in its shape"},
      {entry(R"("dtype":"U8","shape":[[4]],"data_offsets":[0,4])"), 4, "a list in its shape"},
      {entry(R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4])"), 4, "has the size"},
      {entry(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,4])"), 4,
       "more than 8 dimensions"},
      {entry(R"("dtype":"U8","shape":[4],"data_offsets":[0])"), 4, "data_offsets must be two numbers"},
      {entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,8])"), 4, "data_offsets must be two numbers"},
      {entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,5])"), 4, "bytes 0 to 5 of 4"},
      {entry(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])"), 4, "bytes 4 to 0 of 4"},
      {entry(R"("dtype":"F32","shape":[4],"data_offsets":[0,4])"), 4, "does not fill them exactly"},
      {entry(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"), 0,
       "does not fill them"},
      {entry(R"("dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0])"), 0,
       "does not fill them"},
      {entry(good), 5, "fill 4 of 5 bytes"},
      {entry(R"("dtype":"U8","shape":[3],"data_offsets":[1,4])"), 4, "overlap or leave a hole"},
      {"{\"x\":{" + good + R"(},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", 4,
       "overlap or leave"},
      {entry(R"("dtype":"BOOL","shape":[4],"data_offsets":[0,4])"), 4, "besides 0 and 1"},
      {"{\"two\\nlines\":1}", 0, R"('two\x0alines')"},
      {std::string(100000, '{'), 0, "not valid JSON"},
      {R"({"x":)" + std::string(100000, '['), 0, "a list under 'x'"},
  };
  const TemporaryFolder folder;
  for (const Case& damage : cases) {
    INFO(damage.header.substr(0, 200));
    CHECK_THAT(refusal(folder, file_bytes(damage.header, std::string(damage.data_bytes, '\7'))),
               Catch::Contains(damage.message));
  }
  CHECK(refusal(folder, file_bytes(entry(good), "1234")).empty());

  CHECK_THAT(refusal(folder, "short"), Catch::Contains("too few"));
  CHECK_THAT(refusal(folder, std::string(8, '\xff') + "{}"), Catch::Contains("not a safetensors file"));
  for (const char* start : {"PK\3\4....\x08\x08", "\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20"})
    CHECK_THAT(refusal(folder, start), Catch::Contains("torch.save()") && Catch::Contains("taper-convert"));
  CHECK_THROWS_WITH(load_safetensors(folder / "missing"),
                    Catch::Contains("missing: cannot be read: No such file"));
  CHECK_THROWS_WITH(load_safetensors(folder.path()), Catch::Contains("not a regular file"));
}

TEST_CASE("safetensors: a tensor of a dtype that Taper lacks is an error only for those who need it") {
  const TemporaryFolder folder;
  write_bytes(folder / "mixed", file_bytes(R"({"a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},)"
                                           R"("b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]},)"
                                           R"("c":{"dtype":"I16","shape":[2],"data_offsets":[4,8]}})",
                                           std::string("123\7abcd", 8)));
  const Safetensors file = load_safetensors(folder / "mixed");
  CHECK(file.tensors.size() == 1);
  CHECK(file.at("b").item<int>() == 7);
  CHECK(file.unreadable ==
        std::map<std::string, ForeignTensor>{{"a", {"F8_E4M3", {3}}}, {"c", {"I16", {2}}}});
  CHECK_THROWS_WITH(file.at("c"), Catch::Contains("tensor 'c' has dtype I16, which Taper lacks"));
  CHECK_THROWS_WITH(file.at("d"), "the file has no tensor 'd'");
  const Tensor any = ops::full({1}, 0);
  CHECK(file.tensors_for({{"b", any}, {"d", any}}).size() == 1);
  CHECK_THROWS_WITH(file.tensors_for({{"a", any}, {"b", any}}), Catch::Contains("'a' has dtype F8_E4M3"));
}

TEST_CASE("safetensors: a header of too many names is refused before it fills the memory") {
  const TemporaryFolder folder;
  const auto header = [](int count, const std::string& value, const std::string& after) {
    std::string text = "{";
    for (int i = 0; i < count; ++i) text += fmt::format(R"("{:x}":{},)", i, value);
    text.back() = '}';
    return text + after;
  };
  const std::string empty_tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK_THAT(refusal(folder, file_bytes(header((1 << 18) + 1, empty_tensor, ""), "")),
             Catch::Contains("the header has more than 262144 names"));
  const std::string metadata = R"({"__metadata__":)" + header(1 << 18, R"("")", "") + "}";
  CHECK_THAT(refusal(folder, file_bytes(metadata, "")), Catch::Contains("more than 262144 names"));
  CHECK(refusal(folder, file_bytes(header(1 << 12, empty_tensor, ""), "")).empty());
}

TEST_CASE("safetensors: 4,000 mutated files are refused or read, and never ask for more than their size") {
  const TemporaryFolder folder;
  const Safetensors original = all_dtypes();
  save_safetensors(folder / "seed", original.tensors, original.metadata);
  const std::string seed = read_bytes(folder / "seed");
  uint64_t header_bytes;
  std::memcpy(&header_bytes, seed.data(), sizeof header_bytes);
  const std::string tokens = "{}[]\",:0123456789-.eEnulltrue \\\n\xff";

  std::mt19937 random(7);
  const auto below = [&](size_t limit) { return size_t(random()) % limit; };
  int refused = 0;
  const int kMutations = 4000;
  allocator_for(Device()).reset_peak();
  const int64_t held = allocator_for(Device()).stats().allocated_bytes;
  for (int i = 0; i < kMutations; ++i) {
    std::string bytes = seed;
    switch (i % 5) {
      case 0:  // flipped bits anywhere
        for (size_t flips = 1 + below(3); flips > 0; --flips)
          bytes[below(bytes.size())] ^= char(1 << below(8));
        break;
      case 1:  // truncated, or longer than it should be
        bytes.resize(below(bytes.size() + 16), 'x');
        break;
      case 2:  // characters of the header replaced by others that mean something in JSON
        for (size_t edits = 1 + below(4); edits > 0; --edits)
          bytes[8 + below(header_bytes)] = tokens[below(tokens.size())];
        break;
      case 3: {  // a piece of the header cut out or doubled; the length agrees
        const size_t begin = 8 + below(header_bytes - 20);
        const size_t length = 1 + below(19);
        if (below(2) == 0) {
          bytes.erase(begin, length);
        } else {
          bytes.insert(begin, bytes.substr(begin, length));
        }
        const uint64_t new_length = header_bytes + bytes.size() - seed.size();
        std::memcpy(bytes.data(), &new_length, sizeof new_length);
        break;
      }
      case 4:  // a wrong header length
        bytes[below(8)] = char(below(256));
        break;
    }
    INFO("mutation " << i);
    refused += !refusal(folder, bytes).empty();
    CHECK(allocator_for(Device()).stats().peak_allocated_bytes - held <= int64_t(bytes.size()) + 64 * 12);
  }
  CHECK(refused > kMutations / 2);
  CHECK(refused < kMutations);  // a flipped bit of the data is another valid file
}

TEST_CASE("safetensors: what cannot be saved leaves nothing behind") {
  const TemporaryFolder folder;
  const Tensor x = from_vector<float>({1});
  CHECK_THROWS_WITH(save_safetensors(folder / "a/b", {{"x", x}}),
                    Catch::Contains("a/b: cannot be written: No such"));
  CHECK_THROWS_WITH(save_safetensors(folder / "b", {{"x", Tensor()}}),
                    Catch::Contains("tensor 'x' is undefined"));
  CHECK_THROWS_WITH(save_safetensors(folder / "b", {{"\xff", x}}), Catch::Contains("not valid UTF-8"));
  CHECK_THROWS_WITH(save_safetensors(folder / "b", {{"__metadata__", x}}),
                    Catch::Contains("cannot be called"));
  CHECK(folder.files().empty());
}

}  // namespace
}  // namespace taper
