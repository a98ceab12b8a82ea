#pragma once
// Pickles put together from opcodes, and archives around them, for tests of what honest programs do not write.

#include <cstdint>
#include <string>
#include <vector>

#include "temporary_folder.h"

namespace taper::pickle {

/// Returns an archive as torch.save() makes it, of a pickle and of storages.
std::string archive(const std::string& pickle, const std::vector<std::string>& storages = {},
                    const std::string& byteorder = "little");

/// A text as pickles hold it.
std::string text(const std::string& content);
std::string global(const std::string& module, const std::string& name);
/// A number from 0 to 255.
std::string small(int value);
std::string large(int64_t value);
std::string storage(int elements, const std::string& type = "FloatStorage", const std::string& key = "0");
/// A tensor of one dimension over a storage.
std::string tensor(const std::string& of, const std::string& offset, const std::string& size,
                   const std::string& stride);
/// A whole pickle: a dict with one entry, "x".
std::string dict_of(const std::string& value);

/// Loads `bytes` as a file. Returns the message of the FileError, or "" if it was accepted.
std::string refusal(const TemporaryFolder& folder, const std::string& bytes);

}  // namespace taper::pickle
