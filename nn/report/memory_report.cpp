#include "taper/nn/report/memory_report.h"

#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/nn/report/html_page.h"

extern "C" const char taper_embedded_memory_report_html[];

namespace taper {

void record_memory_history(size_t max_events) {
  for (int device = 0; device < gpu::device_count(); ++device)
    gpu::caching_allocator(device).record_history(max_events);
}

void write_memory_report(const std::string& path) {
  write_html_page(path, taper_embedded_memory_report_html, gpu::memory_snapshot());
}

void write_memory_report(const std::string& path, std::span<const gpu::MemorySnapshot> snapshots) {
  write_html_page(path, taper_embedded_memory_report_html, gpu::to_json(snapshots));
}

}  // namespace taper
