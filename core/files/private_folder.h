#pragma once
// The folder of a user's caches. Its contents decide which code runs, so nobody else may write there.

#include <string>

namespace taper {

/// Makes `folder`, and missing folders around it, for this user alone (mode 0700). Throws FileError if that
/// fails, and what check_private_folder throws.
void make_private_folder(const std::string& folder);

/// Throws FileError if `folder` belongs to a user other than this one and root, or if everybody may write to
/// it. A missing folder passes. An empty name is the current folder.
void check_private_folder(const std::string& folder);

}  // namespace taper
