#pragma once
// Temporary files and folders that become the real ones when they are complete. Their names are random, so no
// other process ever uses them, and their writer holds a lock on them. What a killed process leaves has no lock
// and can be removed.

#include <string>

#include "taper/core/files/file_descriptor.h"

namespace taper::detail {

/// Returns ".taper-0123456789abcdef.tmp" with digits of the system's random source.
std::string temporary_name();

/// Removes the temporary files and folders in `folder` whose writers have died. Never throws: what cannot be
/// removed stays.
void remove_orphans(const std::string& folder);

/// Takes the lock of a new temporary file or folder. Returns whether a process that looked for orphans was
/// faster and has removed it.
bool was_taken_for_an_orphan(const FileDescriptor& file);

/// Makes the names in `folder` durable: after a rename, for example. Some file systems cannot flush a folder
/// and report an error; that loses nothing.
void flush_folder(const std::string& folder);

}  // namespace taper::detail
