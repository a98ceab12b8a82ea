// PyTorch's files: what torch.save() wrote is read to the bit, and whatever else a file may hold is one line of
// error.

#include "taper/nn/io/pytorch_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "file_bytes.h"
#include "pickle_bytes.h"
#include "pickle_values.h"
#include "taper/core/base/allocator.h"
#include "taper/core/views.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/io/state_dict.h"
#include "taper/nn/io/zip_file.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"
#include "tests/support/test_folders.h"

namespace taper {
namespace {

using Catch::Contains;
using namespace pickle;
using Dict = PickleValue::Dict;
using List = PickleValue::List;
using Tuple = PickleValue::Tuple;

std::string golden(const std::string& name) {
  return test_data_folder() + "/pytorch/" + name + ".pth";
}

/// The names of every kind of file that both versions of PyTorch wrote.
std::vector<std::string> all_of(const std::string& kind) {
  return {kind + "-1.13", kind + "-1.13-old", kind + "-2", kind + "-2-old"};
}
std::vector<std::string> all_files() {
  std::vector<std::string> names = {"protocol4-1.13", "protocol4-2", "nothing-1.13", "nothing-2"};
  for (const char* kind : {"every_dtype", "views", "checkpoint"})
    for (const std::string& name : all_of(kind)) names.push_back(name);
  return names;
}

/// 0, 1/2, 1, ...: what tests/data/pytorch/make.py puts into a tensor.
Tensor halves(DType dtype, const Shape& shape) {
  Tensor x = empty(shape, {.dtype = kFloat64});
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = double(i) / 2;
  return ops::cast(x, dtype);
}

TEST_CASE("pytorch files: every dtype, as both versions and both formats wrote it") {
  for (const std::string& name : all_of("every_dtype")) {
    INFO(name);
    const StateDict file = state_dict_of(load_pytorch(golden(name)));
    CHECK(file.tensors.size() == 10);
    CHECK(file.unreadable.empty());
    for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8}) {
      const std::map<DType, std::string> names = {
          {kFloat32, "float32"}, {kFloat64, "float64"}, {kFloat16, "float16"}, {kBFloat16, "bfloat16"},
          {kInt64, "int64"},     {kInt32, "int32"},     {kUInt8, "uint8"}};
      INFO(names.at(dtype));
      CHECK(are_equal(file.at(names.at(dtype)), halves(dtype, {2, 3})));
    }
    CHECK(ops::to_vector<int32_t>(file.at("bool")) == std::vector<int32_t>{1, 0, 1});
    CHECK(file.at("bool").dtype() == kBool);
    CHECK(are_equal(file.at("scalar"), ops::full({}, 2.5)));
    CHECK(file.at("empty").shape() == Shape{0, 4});
  }
}

TEST_CASE("pytorch files: views keep their strides, and share storage as they did") {
  for (const std::string& name : all_of("views")) {
    INFO(name);
    const StateDict file = state_dict_of(load_pytorch(golden(name)));
    const Tensor base = file.at("base");
    CHECK(are_equal(base, halves(kFloat32, {24})));
    const Tensor transposed = views::transpose(views::view(views::slice(base, 0, 0, 6), {2, 3}), 0, 1);
    const Tensor steps = views::slice(views::view(base, {4, 6}), 1, 1, 6, 2);
    const Tensor expanded = views::expand(views::slice(base, 0, 2, 3), {5});
    for (const auto& [view, expected] :
         {std::pair<const char*, Tensor>("slice", views::slice(base, 0, 4, 10)),
          {"transposed", transposed},
          {"steps", steps},
          {"expanded", expanded}}) {
      INFO(view);
      const Tensor& got = file.at(view);
      CHECK(are_equal(got, expected));
      CHECK(got.strides() == expected.strides());
      CHECK(got.data_ptr() == expected.data_ptr());
      CHECK(got.storage() == base.storage());
    }
    CHECK(are_equal(file.at("channels_last"), halves(kFloat32, {1, 2, 2, 2})));
    CHECK(file.at("channels_last").memory_format() == kChannelsLast);
    CHECK(file.at("tied.encoder").data_ptr() == file.at("tied.decoder").data_ptr());
    CHECK(!file.at("tied.encoder").requires_grad());
  }
}

TEST_CASE("pytorch files: a checkpoint's values of every kind") {
  for (const std::string& name : all_of("checkpoint")) {
    INFO(name);
    const PickleValue saved = load_pytorch(golden(name));
    CHECK(saved.find("epoch")->get<int64_t>() == 7);
    CHECK(saved.find("best")->get<double>() == 0.25);
    CHECK(saved.find("arch")->get<std::string>() == "größe");
    CHECK(saved.find("negative")->get<int64_t>() == -5);
    CHECK(saved.find("large")->get<int64_t>() == int64_t(1) << 40);
    CHECK(saved.find("nothing")->is_none());
    CHECK(saved.find("resumed")->get<bool>());
    CHECK(are_equal(*saved.find("shape"), Tuple{{1, 2}}));
    CHECK(are_equal(*saved.find("names"), List{"a", Tuple{{"b"}}, List{}}));
    CHECK(saved.find("unknown") == nullptr);
    const StateDict file = state_dict_of(saved);
    CHECK(file.tensors.size() == 2);
    CHECK(are_equal(file.at("weight"), from_vector<float>({0.5, 1.5}, {1, 2})));
    CHECK(are_equal(file.at("bias"), from_vector<float>({2.5})));
    CHECK(file.left_out.size() == 10);
    const PickleValue* group = &saved.find("optimizer")->find("param_groups")->items().at(0);
    CHECK(group->find("lr")->number() == 0.5);
  }
}

TEST_CASE("pytorch files: of protocol 4; without anything; with a dtype that Taper lacks") {
  for (const std::string version : {"1.13", "2"}) {
    const StateDict file = state_dict_of(load_pytorch(golden("protocol4-" + version)));
    CHECK(are_equal(file.at("x"), halves(kFloat32, {3})));
    CHECK(file.unreadable == std::map<std::string, ForeignTensor>{{"int8", {"int8", {3}}}});
    CHECK_THROWS_WITH(file.at("int8"), Contains("dtype int8, which Taper lacks"));
    CHECK(state_dict_of(load_pytorch(golden("nothing-" + version))).tensors.empty());
  }
}

TEST_CASE("pytorch files: tensors view the mapping, and never write to the file") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.pth";
  save_pytorch(path, TensorMap{{"x", from_vector<float>({1, 2, 3})}, {"y", from_vector<double>({4})}});
  const int64_t before = allocator_for(Device()).stats().allocation_count;
  const TensorMap loaded = state_dict_of(load_pytorch(path)).tensors;
  CHECK(allocator_for(Device()).stats().allocation_count == before);
  for (const auto& [name, tensor] : loaded) CHECK(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 64 == 0);
  loaded.at("x").data<float>()[0] = 9;
  CHECK(are_equal(state_dict_of(load_pytorch(path)).at("x"), from_vector<float>({1, 2, 3})));
}

TEST_CASE("pytorch files: what was read is written, and read again") {
  const TemporaryFolder folder;
  for (const std::string& name : all_files()) {
    if (name.starts_with("protocol4")) continue;  // has a tensor that Taper cannot write
    INFO(name);
    const PickleValue saved = load_pytorch(golden(name));
    save_pytorch(folder / "again.pth", saved);
    CHECK(are_equal(load_pytorch(folder / "again.pth"), saved));
    const std::string bytes = read_bytes(folder / "again.pth");
    save_pytorch(folder / "again.pth", load_pytorch(folder / "again.pth"));
    CHECK(read_bytes(folder / "again.pth") == bytes);
  }
  CHECK(folder.files() == std::vector<std::string>{"again.pth"});  // no temporary file stays
}

TEST_CASE("pytorch files: shared storage is written once, and of a large storage only what is used") {
  const TemporaryFolder folder;
  const Tensor base = halves(kFloat32, {100000});
  const Tensor part = views::slice(base, 0, 50000, 50010);
  save_pytorch(folder / "part.pth", TensorMap{{"a", part}, {"b", views::slice(part, 0, 2, 8, 2)}});
  CHECK(read_bytes(folder / "part.pth").size() < 2000);
  const StateDict file = state_dict_of(load_pytorch(folder / "part.pth"));
  CHECK(are_equal(file.at("a"), part));
  CHECK(file.at("b").storage() == file.at("a").storage());
  CHECK(file.at("b").strides() == Strides{2});
  CHECK(are_equal(file.at("b"), views::slice(part, 0, 2, 8, 2)));

  // Integers of every size, and nothing.
  const List numbers = {0,
                        255,
                        256,
                        65535,
                        65536,
                        INT32_MAX,
                        int64_t(INT32_MAX) + 1,
                        INT64_MAX,
                        INT64_MIN,
                        INT32_MIN,
                        int64_t(INT32_MIN) - 1,
                        -1};
  const PickleValue value =
      Dict{{1, numbers},
           {"tuples", List{Tuple{}, Tuple{{1}}, Tuple{{1, 2}}, Tuple{{1, 2, 3}}, Tuple{{1, 2, 3, 4}}}},
           {"dicts", Dict{{"", Dict{}}}},
           {"double", -1e300}};
  save_pytorch(folder / "values.pth", value);
  CHECK(are_equal(load_pytorch(folder / "values.pth"), value));
}

TEST_CASE("pytorch files: what cannot be saved leaves nothing behind") {
  const TemporaryFolder folder;
  const Tensor x = from_vector<float>({1});
  const auto save = [&](const PickleValue& value) { save_pytorch(folder / "x.pth", value); };
  CHECK_THROWS_WITH(save_pytorch(folder / "a/b", TensorMap{{"x", x}}),
                    Contains("a/b: cannot be written: No such"));
  CHECK_THROWS_WITH(save_pytorch(folder / "b", TensorMap{{"x", Tensor()}}),
                    Contains("tensor 'x' is undefined"));
  CHECK_THROWS_WITH(save(Tensor()), "save_pytorch: a tensor is undefined");
  CHECK_THROWS_WITH(save(Dict{{"\xff", x}}), Contains("not valid UTF-8"));
  CHECK_THROWS_WITH(save(Dict{{1.5, x}}), Contains("a dict's key is the number 1.5"));
  CHECK_THROWS_WITH(save(ForeignTensor{"int8", {2}}), Contains("dtype int8"));
  PickleValue deep;
  for (int i = 0; i <= kMaxPickleDepth; ++i) deep = List{deep};
  CHECK_THROWS_WITH(save(deep), Contains("nest more than 64 deep"));
  CHECK(folder.files().empty());
}

TEST_CASE("pytorch files: of another kind") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(load_pytorch(folder / "missing"), Contains("missing: cannot be read: No such file"));
  CHECK_THROWS_WITH(load_pytorch(folder.path()), Contains("not a regular file"));
  CHECK_THAT(refusal(folder, ""), Contains("not a file of PyTorch's torch.save()"));
  CHECK_THAT(refusal(folder, "GIF89a"), Contains("not a file of PyTorch's torch.save()"));
  CHECK_THAT(refusal(folder, "\x80\2}."), Contains("a pickle, but not a file of torch.save()"));
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  CHECK_THAT(refusal(folder, tar), Contains("a tar archive"));
  CHECK_THAT(refusal(folder, archive("\x80\2}.", {}, "big")), Contains("its tensors are big-endian"));
  CHECK(refusal(folder, archive("\x80\2}.")).empty());

  const auto members = [](const std::vector<std::string>& names) {
    std::string bytes;
    detail::ZipWriter zip([&](std::string_view part) { bytes += part; });
    for (const std::string& name : names) zip.add(name, "x");
    zip.finish();
    return bytes;
  };
  CHECK_THAT(refusal(folder, members({"a/b"})), Contains("a zip archive without data.pkl"));
  CHECK_THAT(refusal(folder, members({"a/data.pkl", "a/constants.pkl"})), Contains("a TorchScript archive"));
  CHECK_THAT(refusal(folder, members({"a/data.pkl", "a/data.pkl"})), Contains("'a/data.pkl' is there twice"));

  // The older format says in its third pickle which machine wrote it.
  std::string old = read_bytes(golden("views-1.13-old"));
  const size_t flag = old.find("little_endian") + 15;
  REQUIRE(old[flag] == '\x88');
  old[flag] = '\x89';
  CHECK_THAT(refusal(folder, old), Contains("big-endian"));
}

TEST_CASE("pytorch files: every truncation is refused") {
  const TemporaryFolder folder;
  for (const std::string& name : all_files()) {
    INFO(name);
    const std::string whole = read_bytes(golden(name));
    REQUIRE(whole.size() < 4096);
    for (size_t size = 0; size < whole.size(); ++size) {
      INFO(size);
      CHECK_FALSE(refusal(folder, whole.substr(0, size)).empty());
    }
  }
}

TEST_CASE("pytorch files: 6,000 mutated files are refused or read, and never ask for more than their size") {
  const TemporaryFolder folder;
  std::vector<std::string> seeds;
  for (const std::string& name : all_files()) seeds.push_back(read_bytes(golden(name)));
  std::mt19937 random(7);
  const auto below = [&](size_t limit) { return size_t(random()) % limit; };
  const std::string opcodes =
      "().NJKMGXTU)tae]}suqrhjcRbQ\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8d\x93\x94\x95";
  int refused = 0;
  const int kMutations = 6000;
  allocator_for(Device()).reset_peak();
  const int64_t held = allocator_for(Device()).stats().allocated_bytes;
  for (int i = 0; i < kMutations; ++i) {
    std::string bytes = seeds[below(seeds.size())];
    switch (i % 4) {
      case 0:  // flipped bits anywhere
        for (size_t flips = 1 + below(3); flips > 0; --flips)
          bytes[below(bytes.size())] ^= char(1 << below(8));
        break;
      case 1:  // bytes replaced by opcodes
        for (size_t edits = 1 + below(4); edits > 0; --edits)
          bytes[below(bytes.size())] = opcodes[below(opcodes.size())];
        break;
      case 2: {  // a piece cut out or doubled
        const size_t begin = below(bytes.size() - 20), length = 1 + below(19);
        if (below(2) == 0) {
          bytes.erase(begin, length);
        } else {
          bytes.insert(begin, bytes.substr(begin, length));
        }
        break;
      }
      case 3:  // numbers of extreme sizes
        for (size_t edits = 1 + below(3); edits > 0; --edits)
          bytes[below(bytes.size())] = below(2) == 0 ? '\xff' : '\0';
        break;
    }
    INFO("mutation " << i);
    refused += !refusal(folder, bytes).empty();
    // What refusal() makes contiguous is in it, too: 16 times the file and 1 MiB.
    CHECK(allocator_for(Device()).stats().peak_allocated_bytes - held <=
          int64_t(17 * bytes.size()) + (1 << 20));
  }
  CHECK(refused > kMutations / 4);
  CHECK(refused < kMutations);  // a flipped bit of the data is another valid file
}

TEST_CASE("pytorch files: each kind of damage to the archive is named") {
  const TemporaryFolder folder;
  const std::string good =
      archive(dict_of(tensor(storage(3), small(0), small(3), small(1))), {std::string(12, 'a')});
  REQUIRE(refusal(folder, good).empty());
  const size_t directory = good.find("PK\1\2"), end = good.find("PK\5\6");
  const auto with = [&](size_t at, const std::string& bytes) {
    return std::string(good).replace(at, bytes.size(), bytes);
  };
  const size_t second = good.find("PK\1\2", directory + 1), third = good.find("PK\1\2", second + 1);
  CHECK_THAT(refusal(folder, with(directory + 8, "\1")), Contains("'archive/data.pkl' is encrypted"));
  CHECK_THAT(refusal(folder, with(directory + 10, "\10")), Contains("'archive/data.pkl' is compressed"));
  CHECK_THAT(refusal(folder, with(directory + 20, "\1")), Contains("is compressed"));
  CHECK_THAT(refusal(folder, with(directory, "x")), Contains("the zip archive's directory is damaged"));
  CHECK_THAT(refusal(folder, with(directory + 46, "b")), Contains("has another name in the directory"));
  CHECK_THAT(refusal(folder, with(directory + 42, "\1")), Contains("is not where the directory says"));
  CHECK_THAT(refusal(folder, with(directory + 42, std::string(4, '\xff'))),
             Contains("lacks a number of 64 bits"));
  CHECK_THAT(refusal(folder, with(end + 10, "\xff\xff")), Contains("for 65535 entries"));
  CHECK_THAT(refusal(folder, with(end + 16, std::string(4, '\xff'))), Contains("truncated or damaged"));
  CHECK_THAT(refusal(folder, with(end, "x")), Contains("a zip archive without its directory"));
  const std::string longer("\x60\0\0\0\x60\0\0\0", 8);
  CHECK_THAT(refusal(folder, with(third + 20, longer)), Contains("overlap"));
  CHECK(refusal(folder, std::string(good).replace(end + 20, 2, std::string("\3\0", 2)) + "end")
            .empty());  // a comment
}

TEST_CASE("pytorch files: archives of more than 4 GiB and of many members") {
  const TemporaryFolder folder;
  const std::string path = folder / "large.pth";
  constexpr int64_t kElements = (int64_t(1) << 30) + 5;  // f32: 4 GiB and 20 bytes
  {
    // A hole in the file, from a hole in memory: nothing of the 4 GiB is written, and nothing of it is read.
    constexpr size_t kBytes = size_t(kElements) * sizeof(float);
    void* hole = ::mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(hole != MAP_FAILED);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
    REQUIRE(fd >= 0);
    int64_t at = 0;
    detail::ZipWriter zip([&](std::string_view bytes) {
      if (bytes.data() != hole)
        REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), at) == ssize_t(bytes.size()));
      at += int64_t(bytes.size());
    });
    const std::string whole = "(" + text("storage") + global("torch", "FloatStorage") + text("0") +
                              text("cpu") + large(kElements) + "tQ";
    const std::string behind = tensor(storage(1, "FloatStorage", "1"), small(0), small(1), small(1));
    zip.add("a/data.pkl", "\x80\2}" + text("large") + tensor(whole, small(0), large(kElements), small(1)) +
                              "s" + text("behind") + behind + "s.");
    zip.begin("a/data/0", kBytes, 0);
    zip.write_data({static_cast<const char*>(hole), kBytes});
    const float value = 7;
    zip.add("a/data/1", {reinterpret_cast<const char*>(&value), sizeof value});
    zip.finish();
    ::close(fd);
    ::munmap(hole, kBytes);
  }
  REQUIRE(std::filesystem::file_size(path) > uint64_t(kElements) * 4);
  const StateDict file = state_dict_of(load_pytorch(path));
  CHECK(file.at("large").shape() == Shape{kElements});
  CHECK(file.at("large").data<float>()[kElements - 1] == 0);
  CHECK(file.at("behind").item() == 7);

  // More members than 16 bits count.
  TensorMap many;
  for (int i = 0; i < 66000; ++i) many[fmt::format("{}", i)] = ops::full({}, i);
  save_pytorch(folder / "many.pth", many);
  const StateDict read = state_dict_of(load_pytorch(folder / "many.pth"));
  CHECK(read.tensors.size() == many.size());
  CHECK(read.at("65999").item() == 65999);
}

}  // namespace
}  // namespace taper
