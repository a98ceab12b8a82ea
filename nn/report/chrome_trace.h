#pragma once
// A Profile as a file to look at: Chrome's trace format, which ui.perfetto.dev and chrome://tracing open. It
// has a track for each host thread and each GPU stream, arrows from a launch to its kernel, and a curve of
// the bytes held on each device. PyTorch's counterpart: torch.profiler's export_chrome_trace.
//
// The format: Duca, Sinclair, "Trace Event Format" (Google, 2016).

#include <optional>
#include <string>

#include "taper/core/profiler.h"
#include "taper/ops/algorithms/algorithm_statistics.h"

namespace taper {

struct ChromeTraceOptions {
  std::string process = "host";                        ///< the name of the host's group of tracks
  std::optional<AlgorithmStatistics> algorithms = {};  ///< what the algorithm cache did meanwhile
};

/// Writes the profile to `path`, replacing the file. Throws FileError.
void write_chrome_trace(const std::string& path, const Profile& profile,
                        const ChromeTraceOptions& options = {});

}  // namespace taper
