// Pickles that no torch.save() wrote: nothing in them is run, each kind of damage is one line, and none costs more
// memory than it should.

#include "taper/nn/io/pickle_reader.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "pickle_bytes.h"

namespace taper {
namespace {

using Catch::Contains;
using namespace pickle;

TEST_CASE("pickles: those that want to run something are refused, and nothing is run") {
  const TemporaryFolder folder;
  const std::string command = "touch " + (folder / "executed");
  const std::string system = "\x80\2cos\nsystem\n(" + text(command) + "tR.";
  const std::string posix = "\x80\2cposix\nsystem\n" + text(command) + "\x85R.";
  struct Case {
    std::string pickle, message;
  };
  const std::vector<Case> cases = {
      {system, "the pickle wants os.system, which no dict of tensors needs"},
      {posix, "the pickle wants posix.system"},
      {dict_of("cos\nsystem\n" + text(command) + "\x85R"), "wants os.system"},
      {dict_of("c__builtin__\neval\n" + text("1") + "\x85R"), "wants __builtin__.eval"},
      {dict_of("cbuiltins\nexec\n" + text("1") + "\x85R"), "wants builtins.exec"},
      {dict_of("ctorch\nload\n" + text("/etc/passwd") + "\x85R"), "wants torch.load"},
      {dict_of("ctorch._utils\n_rebuild_qtensor\n"), "wants torch._utils._rebuild_qtensor"},
      {dict_of("cnumpy.core.multiarray\nscalar\n"), "wants numpy.core.multiarray.scalar"},
      {dict_of(text("os") + text("system") + "\x93" + text(command) + "\x85R"), "wants os.system"},
      {dict_of("c\x1b[31m\nx\n"), "wants \\x1b[31m.x"},
      {dict_of("(ios\nsystem\n"), "opcode 0x69"},                         // INST
      {dict_of("\x82\1"), "opcode 0x82"},                                 // EXT1
      {dict_of("(" + text("os") + text("system") + "o"), "opcode 0x6f"},  // OBJ
      // The functions that are known, with what is none of their business.
      {dict_of(global("torch._utils", "_rebuild_tensor_v2") + ")R"), "a tensor is made of 0 values"},
      {dict_of(global("torch._utils", "_rebuild_parameter") + text("x") + "\x85R"),
       "a parameter is made of no tensor"},
      {dict_of(global("torch", "FloatStorage") + small(5) + "\x85R"), "it calls a dtype or a storage"},
      {dict_of(global("torch", "float32") + ")R"), "it calls a dtype or a storage"},
      {dict_of(global("torch", "Size") + small(1) + "\x85R"), "a shape is made of no tuple"},
      {dict_of(global("collections", "OrderedDict") + small(1) + "\x85R"),
       "an OrderedDict is made of what is no list"},
      {dict_of(text("f") + ")R"), "it calls what is no function"},
      {dict_of(global("collections", "OrderedDict")), "a function, a class or a bare storage as a value"},
      {dict_of(storage(0)), "a function, a class or a bare storage as a value"},
      {dict_of(text("x") + "}b"), "it sets attributes of what has none"},
      {dict_of("(" + text("module") + text("x") + "tQ"), "holds a whole 'module'"},
      {dict_of(small(1) + "Q"), "no storage"},
      {dict_of("G\1\2\3\4\5\6\7\10Q"), "no storage"},
      {dict_of("(" + text("storage") + "tQ"), "a storage is described in a way"},
  };
  for (const Case& hostile : cases) {
    INFO(hostile.message);
    CHECK_THAT(refusal(folder, archive(hostile.pickle)), Contains(hostile.message));
  }
  // In the older format, too, in each of its pickles.
  const std::string magic = "\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", version = "\x80\2M\xe9\3.";
  const std::string machine = "\x80\2}" + text("little_endian") + "\x88s.";
  const std::string nothing = "\x80\2}.", no_storages = "\x80\2].";
  CHECK(refusal(folder, magic + version + machine + nothing + no_storages).empty());
  for (const std::string& old : {magic + system, magic + version + system, magic + version + machine + system,
                                 magic + version + machine + nothing + system})
    CHECK_THAT(refusal(folder, old), Contains("wants os.system"));
  CHECK_FALSE(std::filesystem::exists(folder / "executed"));
}

TEST_CASE("pickles: each kind of damage to a pickle is named") {
  const TemporaryFolder folder;
  const std::string data(12, '\0');  // three f32
  const std::string good = dict_of(tensor(storage(3), small(0), small(3), small(1)));
  CHECK(refusal(folder, archive(good, {data})).empty());
  struct Case {
    std::string pickle, message;
  };
  const std::vector<Case> cases = {
      {"", "it is cut off"},
      {"\x80\2}", "it is cut off"},
      {"\x80\6}.", "its protocol is 6"},
      {"\x80\2.", "takes a value where there is none"},
      {"\x80\2NN.", "values are left over"},
      {"\x80\2(N.", "values are left over"},
      {"\x80\2N(.", "takes a value where there is none"},
      {"\x80\2t.", "it ends a group that was not begun"},
      {"\x80\2N\x86.", "takes a value where there is none"},
      {"\x80\2N(N\x86.", "takes a value where there is none"},
      {"\x80\2a.", "takes a value where there is none"},
      {"\x80\2Na.", "takes a value where there is none"},
      {"\x80\2NNa.", "it adds to what is no list"},
      {"\x80\2](a.", "takes a value"},
      {"\x80\2](u.", "it adds to what is no dict"},
      {"\x80\2](NNu.", "it adds to what is no dict"},
      {"\x80\2}(Nu.", "a key has no value"},
      {"\x80\2}NNs.", "a dict has a key that is neither a text nor a number"},
      {"\x80\2}" + text("x") + "Ns" + text("x") + "Ns.", "the key 'x' twice"},
      {"\x80\2}" + small(1) + "Ns" + small(1) + "Ns.", "the key 1 twice"},
      {"\x80\2h\7.", "it recalls number 7"},
      {"\x80\2Nr\xff\xff\xff\xff.", "it remembers a value as number 4294967295"},
      {"\x80\2q\1.", "it remembers a value where there is none"},
      {"\x80\2X\xff\xff\xff\xff.", "4294967295 bytes are needed"},
      {"\x80\2\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "18446744073709551615 bytes are needed"},
      {"\x80\2U\1\xff.", "a text is not UTF-8"},
      {"\x80\2\x8a\x09" + std::string(9, '\1') + ".", "a number has 9 bytes"},
      {"\x80\2ctorch\nFloat", "it is cut off within a name"},
      {"\x80\2I1\n.", "opcode 0x49"},
      {"\x80\2]q\1h\1a.", "values nest more than 64 deep"},  // it holds itself
      {"\x80\2}q\1" + text("x") + "h\1s.", "values nest more than 64 deep"},
      {"\x80\2" + std::string(100000, ']') + std::string(99999, 'a') + ".", "values nest more than 64 deep"},
      {dict_of(tensor(storage(3), small(0), small(4), small(1))), "reaches past its storage of 3 elements"},
      {dict_of(tensor(storage(3), small(1), small(3), small(1))), "reaches past its storage"},
      {dict_of(tensor(storage(3), small(4), small(0), small(1))), "reaches past its storage"},
      {dict_of(tensor(storage(3), small(0), small(2), small(3))), "reaches past its storage"},
      {dict_of(tensor(storage(3), "J\xff\xff\xff\xff", small(1), small(1))), "reaches past its storage"},
      {dict_of(tensor(storage(3), small(0), "J\xff\xff\xff\xff", small(1))), "negative size"},
      {dict_of(tensor(storage(3), small(0), small(2), "J\xff\xff\xff\xff")), "must not be negative"},
      {dict_of(tensor(storage(3), small(0), large(INT64_MAX), small(1))), "reaches past 2^59"},
      {dict_of(tensor(storage(3), small(0), large(INT64_MAX), small(0))), "too large"},
      {dict_of(tensor(storage(3), small(0), large(int64_t(1) << 40), small(0))),
       "more than 16 times the file's"},
      {dict_of(tensor(storage(3), large(INT64_MAX), small(1), small(1))), "reaches past its storage"},
      {dict_of(tensor(storage(3), text("0"), small(3), small(1))), "something else than a storage"},
      {dict_of(tensor(storage(3), small(0), text("3"), small(1))), "a shape or a stride is no number"},
      {dict_of(tensor(storage(3, "FloatStorage", "7"), small(0), small(3), small(1))),
       "lacks the storage '7'"},
      {dict_of(tensor(storage(2), small(0), small(2), small(1))),
       "has 12 bytes in the file, where 8 were expected"},
      {dict_of(tensor(storage(200), small(0), small(2), small(1))), "has 12 bytes in the file, where 800"},
      {"\x80\2]" + tensor(storage(3), small(0), small(3), small(1)) + "a" +
           tensor(storage(3, "IntStorage"), small(0), small(3), small(1)) + "a.",
       "storage '0' is there with two dtypes"},
  };
  for (const Case& damage : cases) {
    INFO(damage.message);
    CHECK_THAT(refusal(folder, archive(damage.pickle, {data})), Contains(damage.message));
  }
  const std::string bools = dict_of(tensor(storage(3, "BoolStorage"), small(0), small(3), small(1)));
  CHECK(refusal(folder, archive(bools, {std::string("\1\0\1", 3)})).empty());
  CHECK_THAT(refusal(folder, archive(bools, {"\1\2\1"})), Contains("bytes besides 0 and 1"));
  std::string nine = global("torch._utils", "_rebuild_tensor_v2") + "(" + storage(3) + small(0);
  for (int list = 0; list < 2; ++list) {
    nine += "(";
    for (int i = 0; i < 9; ++i) nine += small(1);
    nine += "t";
  }
  CHECK_THAT(refusal(folder, archive(dict_of(nine + "\x89}tR"), {data})), Contains("9 dimensions"));
  // What Python 2 wrote: texts of bytes, and an ordered dict of pairs.
  CHECK(
      refusal(folder, archive("\x80\2" + global("collections", "OrderedDict") + "]]U\1xaNaa\x85R.")).empty());
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMemoryIsItsOwn = false;  // the sanitizer's shadow and its quarantine count too
#else
constexpr bool kMemoryIsItsOwn = true;
#endif

/// The most memory that the process has had, in bytes.
int64_t peak_bytes() {
  struct rusage usage = {};
  REQUIRE(::getrusage(RUSAGE_SELF, &usage) == 0);
  return int64_t(usage.ru_maxrss) * 1024;
}

TEST_CASE("pickles: bombs are refused before they fill the memory") {
  const TemporaryFolder folder;
  constexpr size_t kMega = 1 << 20;
  const int64_t before = peak_bytes();
  // A million laughs: every list holds the one before it ten times.
  // All but the last are left on the stack; a tuple takes them together.
  std::string laughs = "\x80\2(]q" + std::string(1, '\0');
  for (int level = 1; level < 60; ++level) {
    laughs += "](";
    for (int i = 0; i < 10; ++i) laughs += std::string("h") + char(uint8_t(level - 1));
    laughs += std::string("eq") + char(uint8_t(level));
  }
  CHECK_THAT(refusal(folder, archive(laughs + "t.")), Contains("repeats its parts so often"));
  // A long text, remembered and repeated.
  std::string texts = "\x80\2(X";
  const uint32_t length = kMega;
  texts.append(reinterpret_cast<const char*>(&length), sizeof length);
  texts += std::string(kMega, 'a') + std::string("q\0", 2);
  for (int i = 0; i < 100000; ++i) texts += std::string("h\0", 2);
  CHECK_THAT(refusal(folder, archive(texts + "t.")), Contains("repeats its parts so often"));
  // A pair, remembered and repeated, for an OrderedDict.
  std::string pairs = "\x80\2" + global("collections", "OrderedDict") + "](" + text("x") + "N\x86q\1";
  for (int i = 0; i < 1000; ++i) pairs += "h\1";
  CHECK_THAT(refusal(folder, archive(pairs + "e\x85R.")), Contains("the key 'x' twice"));
  // One byte each, as many as there may be and more.
  for (const char opcode : {']', '}', 'N', ')', '('}) {
    CHECK_FALSE(refusal(folder, archive("\x80\2" + std::string(kMega, opcode) + ".")).empty());
  }
  CHECK_THAT(refusal(folder, archive("\x80\2(" + std::string(5 * kMega, 'N') + "t.")),
             Contains("more than 4194304 values"));
  // Numbers in the memo far beyond what was remembered.
  std::string memo = "\x80\2(";
  for (int i = 0; i < 100000; ++i) memo += "Nr" + std::string("\0\0\1\0", 4);
  CHECK_FALSE(refusal(folder, archive(memo + "t.")).empty());
  const int64_t grown = peak_bytes() - before;
  if (kMemoryIsItsOwn) CHECK(grown < int64_t(600 * kMega));
}

}  // namespace
}  // namespace taper
