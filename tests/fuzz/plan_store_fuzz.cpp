// PlanStore::find() with any file in the place of a plan, and keep() with any bytes.

#include "fuzz.h"
#include "taper/ops/algorithms/plan_store.h"

using namespace taper;

namespace {

constexpr const char* kKey = "conv2d forward x=f32[8,64,56,56] on NVIDIA H200, cuDNN 9.19.0";

/// The path that `store`, whose folder this is, gives the plan.
std::string path_of_plan(const PlanStore& store, const TemporaryFolder& folder) {
  store.keep(kKey, "");
  return folder / folder.files().at(0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const TemporaryFolder folder;
  static const PlanStore store(folder.path());
  static const std::string path = path_of_plan(store, folder);
  static const auto quiet = set_warning_handler([](std::string_view) {});

  const std::string bytes(reinterpret_cast<const char*>(data), size);
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  const auto found = store.find(kKey);
  fuzz::require(!found || bytes.ends_with(*found), "a plan is what its file ends with");
  store.keep(kKey, bytes);
  fuzz::require(store.find(kKey) == bytes, "a plan that was kept is found");
  return 0;
}
