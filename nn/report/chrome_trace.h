#pragma once
// A Profile as a file to look at: Chrome's trace format, which ui.perfetto.dev and chrome://tracing open.
// One track for each host thread and each GPU stream, arrows from a launch to its kernel, and a curve of
// the bytes held on each device. PyTorch's counterpart: torch.profiler's export_chrome_trace.
//
// The format: Duca, Sinclair, "Trace Event Format" (Google, 2016).

#include <string>

#include "taper/core/profiler.h"

namespace taper {

/// Replaces the file at `path`. `process` names the host's group of tracks. Throws FileError.
void write_chrome_trace(const std::string& path, const Profile& profile, const std::string& process = "host");

}  // namespace taper
