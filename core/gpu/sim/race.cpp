// The functions that the compiler calls before every load and store of a kernel, under -fsanitize=thread. The
// clocks are those of Flanagan and Freund, "FastTrack: efficient and precise dynamic race detection" (2009),
// with a warp in place of a program. Across warps only the block's barriers order anything, and those are
// counted.

#include "taper/core/gpu/sim/race.h"

#if TAPER_SIM_RACES

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "taper/core/gpu/sim/block.h"
#include "taper/core/gpu/sim/schedule.h"
#include "taper/core/gpu/sim/static_shared.h"

namespace taper::gpu::sim::race {
namespace {

enum class Access : uint8_t { kRead, kWrite, kAtomic };

/// The last accesses of one byte: its latest writer, and the lanes of one warp that have read it since.
struct Cell {
  uint32_t block = 0, barriers = 0;  // when: blocks and their barriers are counted from 1
  uint16_t writer = kNobody;
  uint8_t reader_warp = 0;
  bool atomic = false;             // the writer's access
  bool readers_elsewhere = false;  // other warps read it too
  uint32_t writer_clock = 0;
  uint32_t reader_lanes = 0;
  uint32_t reader_clock = 0;  // of the latest reader
  const void* writer_place = nullptr;
  const void* reader_place = nullptr;

  static constexpr uint16_t kNobody = 0xffff;
};

constexpr uintptr_t kCellsPerPage = 1024;
using Page = std::array<Cell, kCellsPerPage>;

/// Clocks of the lanes of one warp: clock[a][b] is what lane a knows about lane b.
struct WarpClocks {
  uint32_t clock[32][32];
};

struct Detector {
  uint32_t block = 0, barriers = 0;
  std::vector<WarpClocks> warps = std::vector<WarpClocks>(kMaxThreads / 32);
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
  uintptr_t last_page_number = ~uintptr_t{0};
  Page* last_page = nullptr;
  // Order between blocks of a launch: which blocks an atomic word has heard of, and which ones this block
  // has.
  std::unordered_map<uintptr_t, std::unordered_set<uint32_t>> heard_by_word;
  std::unordered_set<uint32_t> heard;
  bool fenced = false;
  StaticShared static_shared;

  Cell& cell(uintptr_t address) {
    const uintptr_t number = address / kCellsPerPage;
    if (number != last_page_number) {
      auto& page = pages[number];
      if (page == nullptr) page = std::make_unique<Page>();
      last_page_number = number;
      last_page = page.get();
    }
    return (*last_page)[address % kCellsPerPage];
  }
};

Detector& detector() {
  static Detector instance;
  return instance;
}

bool busy = false;  // the detector must not watch its own work

std::string place(const void* address) {
  Dl_info info{};
  if (address == nullptr || dladdr(address, &info) == 0) return "an unknown place";
  const auto offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1;
  const std::string command = fmt::format("addr2line -e '{}' {:#x} 2>/dev/null", info.dli_fname, offset);
  char line[1024] = "";
  if (FILE* output = popen(command.c_str(), "r")) {
    if (std::fgets(line, sizeof line, output) == nullptr) line[0] = '\0';
    pclose(output);
  }
  std::string text = line;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.empty() ? "an unknown place" : text;
}

const char* verb(Access access) {
  return access == Access::kRead ? "reads" : access == Access::kWrite ? "writes" : "atomically updates";
}

std::string shared_name(uintptr_t address) {
  const StaticShared::Variable* variable = detector().static_shared.find(address);
  return variable == nullptr ? "" : " (" + variable->name + ")";
}

[[noreturn]] void report(uintptr_t address, Access access, const void* here, const Cell& cell, bool writer,
                         bool shared) {
  BlockRunner* runner = BlockRunner::active();
  std::string who =
      cell.block != detector().block ? "another block"
      : writer                       ? "thread " + runner->describe_index(cell.writer)
      : cell.readers_elsewhere
          ? "another warp"
          : "thread " + runner->describe_index(cell.reader_warp * 32 + __builtin_ctz(cell.reader_lanes));
  const std::string where =
      shared ? "shared memory" + shared_name(address)
             : Machine::instance()
                   .arena(Machine::instance().device_of(reinterpret_cast<const void*>(address)))
                   .describe(reinterpret_cast<const void*>(address));
  std::string message =
      fmt::format("race: at {} this thread {} {}, which {} {} at {}, and nothing orders the two", place(here),
                  verb(access), where, who, writer ? (cell.atomic ? "atomically updated" : "wrote") : "read",
                  place(writer ? cell.writer_place : cell.reader_place));
  who = std::string();
  busy = false;
  runner->abandon(std::move(message));
}

void touch_byte(uintptr_t address, Access access, int thread, const void* here, bool shared) {
  Detector& d = detector();
  Cell& cell = d.cell(address);
  const int warp = thread / 32, lane = thread % 32;
  const uint32_t(&clock)[32] = d.warps[static_cast<size_t>(warp)].clock[lane];

  const bool untouched = cell.block == 0, other_block = !untouched && cell.block != d.block;
  if (untouched || (other_block && (shared || d.heard.contains(cell.block))) ||
      (!other_block && cell.barriers != d.barriers)) {
    cell = Cell{.block = d.block, .barriers = d.barriers};
  } else {
    const bool writer_ordered =
        cell.writer == Cell::kNobody ||
        (!other_block && (cell.writer == thread ||
                          (cell.writer / 32 == warp && clock[cell.writer % 32] >= cell.writer_clock)));
    if (!writer_ordered && !(access == Access::kAtomic && cell.atomic))
      report(address, access, here, cell, true, shared);
    if (access != Access::kRead && cell.reader_lanes != 0) {
      bool readers_ordered = !other_block && !cell.readers_elsewhere && cell.reader_warp == warp;
      for (uint32_t rest = cell.reader_lanes & ~(1u << lane); readers_ordered && rest != 0;
           rest &= rest - 1) {
        readers_ordered = clock[__builtin_ctz(rest)] >= cell.reader_clock;
      }
      if (!readers_ordered) report(address, access, here, cell, false, shared);
    }
    // Several blocks read the byte, or used atomics on it: this block's access stands for all.
    if (other_block) cell = Cell{.block = d.block, .barriers = d.barriers};
  }

  if (access == Access::kRead) {
    bool earlier_ordered = cell.reader_warp == warp;
    for (uint32_t rest = cell.reader_lanes; earlier_ordered && rest != 0; rest &= rest - 1) {
      earlier_ordered = clock[__builtin_ctz(rest)] >= cell.reader_clock;
    }
    if (cell.reader_lanes != 0 && cell.reader_warp != warp) cell.readers_elsewhere = true;
    cell.reader_lanes = (earlier_ordered || cell.reader_warp != warp ? 0 : cell.reader_lanes) | 1u << lane;
    cell.reader_warp = static_cast<uint8_t>(warp);
    cell.reader_clock = clock[lane];
    cell.reader_place = here;
  } else {
    cell.writer = static_cast<uint16_t>(thread);
    cell.writer_clock = clock[lane];
    cell.writer_place = here;
    cell.atomic = access == Access::kAtomic;
    cell.reader_lanes = 0;
    cell.readers_elsewhere = false;
  }
}

void touch(const volatile void* target, size_t size_bytes, Access access, const void* here) {
  const BlockRunner* runner = BlockRunner::active();
  if (runner == nullptr || busy) return;
  const auto address = reinterpret_cast<uintptr_t>(target);
  Detector& d = detector();
  const bool shared = runner->in_dynamic_shared(address) || d.static_shared.find(address) != nullptr;
  if (!shared && Machine::instance().device_of(const_cast<const void*>(target)) < 0) return;
  busy = true;
  if (access == Access::kAtomic && !shared) {
    auto& heard = d.heard_by_word[address];
    d.heard.insert(heard.begin(), heard.end());
    if (d.fenced) {
      heard.insert(d.heard.begin(), d.heard.end());
      heard.insert(d.block);
    }
  }
  for (size_t i = 0; i < size_bytes; ++i) touch_byte(address + i, access, runner->thread(), here, shared);
  busy = false;
}

}  // namespace

void begin_launch() {
  Detector& d = detector();
  d.pages.clear();  // the end of a kernel orders everything
  d.last_page_number = ~uintptr_t{0};
  d.heard_by_word.clear();
}

void begin_block() {
  Detector& d = detector();
  ++d.block;
  d.barriers = 1;
  d.heard.clear();
  d.fenced = false;
  for (WarpClocks& warp : d.warps) {
    for (int lane = 0; lane < 32; ++lane) {
      std::fill(std::begin(warp.clock[lane]), std::end(warp.clock[lane]), 0u);
      warp.clock[lane][lane] = 1;
    }
  }
}

void block_barrier() {
  ++detector().barriers;
}

void warp_collective(int warp, uint32_t members) {
  WarpClocks& clocks = detector().warps[static_cast<size_t>(warp)];
  uint32_t joined[32] = {};
  for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
    const uint32_t(&clock)[32] = clocks.clock[__builtin_ctz(rest)];
    for (int i = 0; i < 32; ++i) joined[i] = std::max(joined[i], clock[i]);
  }
  for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    std::copy(std::begin(joined), std::end(joined), clocks.clock[lane]);
    ++clocks.clock[lane][lane];
  }
}

void fence() {
  if (BlockRunner::active() != nullptr) detector().fenced = true;
}

void watch(const volatile void* target, size_t size_bytes, bool write, const void* here) {
  touch(target, size_bytes, write ? Access::kWrite : Access::kRead, here);
}
void watch_atomic(const volatile void* target, size_t size_bytes, const void* here) {
  touch(target, size_bytes, Access::kAtomic, here);
}

}  // namespace taper::gpu::sim::race

// ------------------------------------------------------------------------- what -fsanitize=thread calls
// The names and signatures are the compiler's (gcc/sanitizer.def).

namespace race = taper::gpu::sim::race;

#define TAPER_HERE __builtin_return_address(0)
#define TAPER_ACCESS(bytes)                     \
  void __tsan_read##bytes(void* p) {            \
    race::watch(p, bytes, false, TAPER_HERE);   \
  }                                             \
  void __tsan_write##bytes(void* p) {           \
    race::watch(p, bytes, true, TAPER_HERE);    \
  }                                             \
  void __tsan_unaligned_read##bytes(void* p) {  \
    race::watch(p, bytes, false, TAPER_HERE);   \
  }                                             \
  void __tsan_unaligned_write##bytes(void* p) { \
    race::watch(p, bytes, true, TAPER_HERE);    \
  }                                             \
  void __tsan_volatile_read##bytes(void* p) {   \
    race::watch_atomic(p, bytes, TAPER_HERE);   \
  }                                             \
  void __tsan_volatile_write##bytes(void* p) {  \
    race::watch_atomic(p, bytes, TAPER_HERE);   \
  }

#define TAPER_FETCH(bits, type, name, builtin)                                 \
  type __tsan_atomic##bits##_##name(volatile void* p, type value, int order) { \
    race::watch_atomic(p, bits / 8, TAPER_HERE);                               \
    (void)order;                                                               \
    return builtin(static_cast<volatile type*>(p), value, __ATOMIC_SEQ_CST);   \
  }

#define TAPER_ATOMIC(bits, type)                                                                            \
  type __tsan_atomic##bits##_load(const volatile void* p, int) {                                            \
    race::watch_atomic(p, bits / 8, TAPER_HERE);                                                            \
    return __atomic_load_n(static_cast<const volatile type*>(p), __ATOMIC_SEQ_CST);                         \
  }                                                                                                         \
  void __tsan_atomic##bits##_store(volatile void* p, type value, int) {                                     \
    race::watch_atomic(p, bits / 8, TAPER_HERE);                                                            \
    __atomic_store_n(static_cast<volatile type*>(p), value, __ATOMIC_SEQ_CST);                              \
  }                                                                                                         \
  bool __tsan_atomic##bits##_compare_exchange_strong(volatile void* p, void* expected, type value, int,     \
                                                     int) {                                                 \
    race::watch_atomic(p, bits / 8, TAPER_HERE);                                                            \
    return __atomic_compare_exchange_n(static_cast<volatile type*>(p), static_cast<type*>(expected), value, \
                                       false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                          \
  }                                                                                                         \
  bool __tsan_atomic##bits##_compare_exchange_weak(volatile void* p, void* expected, type value, int a,     \
                                                   int b) {                                                 \
    return __tsan_atomic##bits##_compare_exchange_strong(p, expected, value, a, b);                         \
  }                                                                                                         \
  TAPER_FETCH(bits, type, exchange, __atomic_exchange_n)                                                    \
  TAPER_FETCH(bits, type, fetch_add, __atomic_fetch_add)                                                    \
  TAPER_FETCH(bits, type, fetch_sub, __atomic_fetch_sub)                                                    \
  TAPER_FETCH(bits, type, fetch_and, __atomic_fetch_and)                                                    \
  TAPER_FETCH(bits, type, fetch_or, __atomic_fetch_or)                                                      \
  TAPER_FETCH(bits, type, fetch_xor, __atomic_fetch_xor)

extern "C" {
TAPER_ACCESS(1)
TAPER_ACCESS(2)
TAPER_ACCESS(4)
TAPER_ACCESS(8)
TAPER_ACCESS(16)
TAPER_ATOMIC(8, uint8_t)
TAPER_ATOMIC(16, uint16_t)
TAPER_ATOMIC(32, uint32_t)
TAPER_ATOMIC(64, uint64_t)

void __tsan_read_range(void* p, size_t bytes) {
  race::watch(p, bytes, false, TAPER_HERE);
}
void __tsan_write_range(void* p, size_t bytes) {
  race::watch(p, bytes, true, TAPER_HERE);
}
void __tsan_atomic_thread_fence(int) {
  race::fence();
}
void __tsan_atomic_signal_fence(int) {}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

#endif
