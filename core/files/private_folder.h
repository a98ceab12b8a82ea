#pragma once
// The folder in which a user's caches are: what is in it decides which code runs, so nobody else may write
// there.

#include <string>

namespace taper {

/// Makes `folder`, and those around it that are missing, for this user alone (mode 0700). Throws FileError if
/// that fails, and what check_private_folder throws.
void make_private_folder(const std::string& folder);

/// Throws FileError if `folder` belongs to another user than this one and root, or if everybody may write to
/// it. A folder that is not there is well. An empty name is the current folder.
void check_private_folder(const std::string& folder);

}  // namespace taper
