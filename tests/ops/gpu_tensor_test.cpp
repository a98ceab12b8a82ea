// Tensors on the GPU: copies, casts, layouts and fills there, and the way there and back.

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "taper/autograd/functions.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/reduce/reduce.h"
#include "tests/support/child_process.h"
#include "tests/support/test_tensors.h"

using namespace taper;

namespace {

const Device kGpu("cuda");
constexpr DType kAllTypes[] = {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool};

/// Returns -9 to 9 with halves, so that every conversion that C++ defines occurs.
Tensor some_values(const Shape& shape, DType dtype) {
  const bool is_signed = dtype != kUInt8;
  const int64_t count = numel(shape);
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(double(i * 7 % 37) / 2 - (is_signed ? 9 : 0));
  return ops::cast(from_vector(values, shape), dtype);
}

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

/// Returns views with every layout of a pack: rows, repeats, odd lengths, misaligned starts, permutations.
std::vector<Tensor> views_of(const Tensor& x) {  // [6, 5, 8, 12]
  return {x,
          views::permute(x, {0, 2, 3, 1}),
          views::permute(x, {3, 1, 0, 2}),
          views::transpose(x, 0, 3),
          views::slice(x, 3, 1, 12),
          views::slice(x, 3, 0, 12, 2),
          views::slice(x, 1, 1, 4, 2),
          views::select(x, 3, 5),
          views::expand(views::select(x, 2, 1), {6, 6, 5, 12}),
          views::expand(views::slice(x, 3, 3, 4), {6, 5, 8, 12}),
          views::narrow(x, 0, 2, 0),
          views::select(views::select(views::select(views::select(x, 0, 1), 0, 1), 0, 1), 0, 1)};
}

}  // namespace

TEST_CASE("a tensor comes back from the GPU as it went, whatever its dtype and layout") {
  for (const DType dtype : kAllTypes) {
    const Tensor x = some_values({6, 5, 8, 12}, dtype);
    for (const Tensor& view : views_of(x)) {
      INFO(name(dtype) << " " << view.shape().str() << " " << view.strides().str());
      const Tensor there = ops::to_device(view, kGpu);
      CHECK(there.device() == kGpu);
      CHECK(there.dtype() == dtype);
      if (view.is_dense()) CHECK(there.strides() == view.strides());
      CHECK(values(there) == values(view));
    }
  }
}

TEST_CASE("copies of views on the GPU are what the CPU makes of them") {
  for (const DType dtype : {kFloat32, kFloat64, kBFloat16, kUInt8}) {
    const Tensor x = some_values({6, 5, 8, 12}, dtype), x_gpu = ops::to_device(x, kGpu);
    const std::vector<Tensor> on_cpu = views_of(x), on_gpu = views_of(x_gpu);
    for (size_t i = 0; i < on_cpu.size(); ++i) {
      INFO(name(dtype) << " view " << i);
      CHECK(values(ops::contiguous(on_gpu[i])) == values(on_cpu[i]));
      CHECK(values(ops::clone(on_gpu[i])) == values(on_cpu[i]));
      if (on_cpu[i].dim() == 4) {
        const Tensor channels_last = ops::contiguous(on_gpu[i], kChannelsLast);
        CHECK(channels_last.is_contiguous(kChannelsLast));
        CHECK(values(channels_last) == values(on_cpu[i]));
      }
    }
  }
}

TEST_CASE("every dtype converts to every other as on the CPU") {
  for (const DType from : kAllTypes) {
    const Tensor x = some_values({3, 41}, from), x_gpu = ops::to_device(x, kGpu);
    for (const DType to : kAllTypes) {
      INFO(name(from) << " to " << name(to));
      CHECK(values(ops::cast(x_gpu, to)) == values(ops::cast(x, to)));
      const Tensor target = ops::zeros({3, 41}, {.dtype = to, .device = kGpu});
      ops::copy_(target, x);  // crosses and converts
      CHECK(values(target) == values(ops::cast(x, to)));
      const Tensor back = ops::zeros({3, 41}, {.dtype = to});
      ops::copy_(back, x_gpu);
      CHECK(values(back) == values(ops::cast(x, to)));
    }
  }
}

TEST_CASE("rounding to half types on the GPU is the CPU's, from f64 too") {
  std::vector<double> numbers;
  for (int i = 0; i < 4000; ++i) numbers.push_back(std::ldexp(1 + i * 0x1.8p-12, i % 40 - 26));
  for (const double special : {0.0, -0.0, 65519.0, 65520.0, 1e-8, 1e300, double(INFINITY)}) {
    numbers.push_back(special);
  }
  const Tensor x = from_vector(numbers), x_gpu = ops::to_device(x, kGpu);
  for (const DType dtype : {kFloat16, kBFloat16}) {
    CHECK(values(ops::cast(x_gpu, dtype)) == values(ops::cast(x, dtype)));
    const Tensor narrow = ops::cast(x, kFloat32), narrow_gpu = ops::cast(x_gpu, kFloat32);
    CHECK(values(ops::cast(narrow_gpu, dtype)) == values(ops::cast(narrow, dtype)));
  }
}

TEST_CASE("copy_ writes into views and broadcasts, on the GPU and across") {
  for (const Device source_device : test_devices()) {
    const Tensor expected = some_values({4, 6, 10}, kFloat32);
    const Tensor target = ops::to_device(expected, kGpu);
    const Tensor row = some_values({10}, kInt32);
    ops::copy_(views::slice(expected, 1, 1, 6, 2), row);
    ops::copy_(views::slice(target, 1, 1, 6, 2), ops::to_device(row, source_device));
    CHECK(values(target) == values(expected));
    const Tensor shifted = some_values({3, 10}, kFloat32);
    ops::copy_(views::select(views::narrow(expected, 0, 1, 3), 1, 4), shifted);
    ops::copy_(views::select(views::narrow(target, 0, 1, 3), 1, 4), ops::to_device(shifted, source_device));
    CHECK(values(target) == values(expected));
  }
  // Onto itself, shifted: as if the source had been copied first.
  const Tensor x = ops::to_device(some_values({64}, kFloat32), kGpu);
  const std::vector<double> before = values(x);
  ops::copy_(views::narrow(x, 0, 1, 63), views::narrow(x, 0, 0, 63));
  CHECK(std::vector<double>(before.begin(), before.end() - 1) == values(views::narrow(x, 0, 1, 63)));
}

TEST_CASE("fill_ fills views of every dtype and leaves the rest") {
  for (const DType dtype : kAllTypes) {
    for (const double value : {0.0, 1.0, 3.0}) {
      const Tensor expected = some_values({5, 7, 9}, dtype);
      const Tensor x = ops::to_device(expected, kGpu);
      const uint32_t version = x.version();
      for (const Tensor& each : {expected, x}) ops::fill_(views::slice(each, 2, 1, 9, 3), value);
      CHECK(x.version() == version + 1);
      CHECK(values(x) == values(expected));
      ops::fill_(x, value);
      CHECK(values(x) == std::vector<double>(5 * 7 * 9, dtype == kBool ? value != 0 : value));
    }
  }
  const Tensor negative_zero = ops::full({3}, -0.0, {.device = kGpu});
  CHECK(std::signbit(values(negative_zero)[2]));
}

TEST_CASE("tensors of known values can be made on the GPU") {
  CHECK(values(ops::ones({3}, {.dtype = kBFloat16, .device = kGpu})) == std::vector<double>{1, 1, 1});
  CHECK(values(ops::arange(0, 6, 2, {.dtype = kInt64, .device = kGpu})) == std::vector<double>{0, 2, 4});
  CHECK(values(ops::eye(2, 3, {.device = kGpu})) == std::vector<double>{1, 0, 0, 0, 1, 0});
  CHECK(ops::item(ops::full({}, 2.5, {.device = kGpu})) == 2.5);
  CHECK(values(ops::zeros({0, 4}, {.device = kGpu})).empty());
}

TEST_CASE("copies from and to pinned memory need not wait") {
  const Tensor x = some_values({1000}, kFloat32).pin_memory();
  CHECK(x.is_pinned());
  CHECK(x.pin_memory().is_same(x));
  CHECK(!some_values({4}, kFloat32).is_pinned());
  const gpu::Stream stream = gpu::stream_from_pool();
  const gpu::StreamGuard guard(stream);
  const Tensor there = x.cuda(0, true);
  const Tensor back = there.to(kCPU, true);
  CHECK(back.is_pinned());
  stream.synchronize();
  CHECK(values(back) == values(x));
  // Pageable memory may be reused at once, whatever was asked.
  Tensor pageable = some_values({1000}, kFloat32);
  const Tensor copied = pageable.cuda(0, true);
  pageable.fill_(0);
  CHECK(values(copied) == values(x));
  CHECK(values(there.to(kCPU)) == values(x));
  CHECK_THROWS_WITH(there.pin_memory(), Catch::Contains("only CPU memory can be pinned"));
  CHECK_THROWS_WITH(empty({2}, {.device = kGpu, .pinned_memory = true}), Catch::Contains("pinned memory"));
}

TEST_CASE("pinned memory given back is not reused before its copy has run") {
  const std::vector<double> expected = values(some_values({512}, kFloat32));
  std::vector<Tensor> there;
  const gpu::StreamGuard guard(gpu::stream_from_pool());
  for (int i = 0; i < 8; ++i) {
    const Tensor staged = empty({512}, {.pinned_memory = true});
    staged.copy_(some_values({512}, kFloat32));
    there.push_back(staged.cuda(0, true));
  }
  for (const Tensor& each : there) CHECK(values(each) == expected);
}

TEST_CASE("operations on tensors of two devices say so") {
  const Tensor a = ops::ones({2, 2}), b = ops::ones({2, 2}, {.device = kGpu});
  CHECK_THROWS_WITH(add(a, b), Catch::Contains("tensors are on cpu and cuda:0; move one with .to(device)"));
  CHECK_THROWS_WITH(matmul(b, a), Catch::Contains("tensors are on cuda:0 and cpu"));
  CHECK_THROWS_WITH(empty({2}, {.device = Device("cuda:99")}), Catch::Contains("99"));
  Tensor x = ops::ones({2});
  x.set_requires_grad();
  CHECK_THROWS_WITH(x.set_grad(ops::ones({2}, {.device = kGpu})), Catch::Contains("cuda:0"));
}

TEST_CASE("gradients cross devices with the values") {
  Tensor x = some_values({3, 4}, kFloat32).set_requires_grad();
  const Tensor seed = some_values({4, 3}, kFloat32);
  x.cuda().transpose(0, 1).clone().cpu().backward(seed);
  CHECK(x.grad().device() == Device("cpu"));
  CHECK(values(x.grad()) == values(views::transpose(seed, 0, 1)));

  Tensor source = some_values({2}, kFloat32).set_requires_grad();
  const Tensor target = ops::zeros({2}, {.device = kGpu});
  target.copy_(source);
  target.backward(ops::full({2}, 3, {.device = kGpu}));
  CHECK(values(source.grad()) == std::vector<double>{3, 3});
}

TEST_CASE("a number on the CPU beside tensors on the GPU gets its gradient on the CPU") {
  Tensor scale = ops::full({}, 2).set_requires_grad();
  Tensor x = ops::to_device(some_values({3, 4}, kFloat32), kGpu).set_requires_grad();
  (x * scale).sum().backward();
  CHECK(scale.grad().device() == Device("cpu"));
  CHECK(scale.grad().item() == Approx(ops::item(ops::sum(x))));
  CHECK(values(x.grad()) == std::vector<double>(12, 2));
}

TEST_CASE("a tensor on the GPU prints its values and where it is") {
  const Tensor x = views::transpose(ops::to_device(from_vector<float>({1, 2, 3, 4}, {2, 2}), kGpu), 0, 1);
  CHECK(to_string(x) == "tensor([[1., 3.],\n        [2., 4.]], device=cuda:0)");
}

TEST_CASE("tensors give their memory back to the caching allocator") {
  gpu::CachingAllocator& allocator = gpu::caching_allocator(0);
  const int64_t before = allocator.stats().allocated_bytes;
  {
    const Tensor x = ops::ones({1024}, {.device = kGpu});
    CHECK(allocator.stats().allocated_bytes == before + 4096);
  }
  CHECK(allocator.stats().allocated_bytes == before);
}

TEST_CASE("a child of fork() is told that it has no GPU") {
  const Tensor x = from_vector<float>({1, 2, 3}).to(kGpu);
  std::atomic<bool> stop{false};
  std::thread other([&] {  // holds whatever locks there are
    while (!stop) (x * 2).cpu();
  });
  for (int i = 0; i < 10; ++i) {
    const test::ChildResult child = test::run_in_child([&] {
      const auto says_so = [](const char* what, auto&& use) {
        try {
          use();
        } catch (const DeviceLostError& error) {
          const std::string text = error.what();
          TAPER_CHECK(text.find("forked from one that had used the GPU") != text.npos, "{}: {}", what, text);
          return;
        }
        fail("{}: no error", what);
      };
      TAPER_CHECK(gpu::device_count() >= 1, "device_count");
      says_so("an op", [&] { (x + x).cpu(); });
      says_so("a copy", [&] { x.cpu(); });
      says_so("a tensor", [&] { empty({1000}, {.device = kGpu}); });
      says_so("synchronize", [&] { gpu::synchronize(); });
      says_so("pinned memory", [&] { gpu::allocate_pinned(100); });
      says_so("an event", [&] { gpu::Event().record(gpu::default_stream()); });
      Tensor mine = x;  // goes, as all handles do
      TAPER_CHECK((ones({3}) * 2).sum().item<float>() == 6, "the CPU");
    });
    CAPTURE(child.stderr_text);
    CHECK(child.signal == 0);
    CHECK(child.exit_code == 0);
  }
  stop = true;
  other.join();
  CHECK(values(x) == std::vector<double>{1, 2, 3});
}
