#pragma once
// Named tensors in a file that other frameworks read too: eight bytes of header length, a JSON header with
// each tensor's dtype, shape and offsets, then the data, row-major and little-endian. Nothing in it is
// executable, and the data needs no parsing, so the file is mapped instead of read. The format and its
// reference implementation: https://github.com/huggingface/safetensors.

#include <functional>
#include <map>
#include <string>

#include "taper/nn/io/state_dict.h"
#include "taper/nn/tensor_map.h"

namespace taper {

using Metadata = std::map<std::string, std::string>;

/// The content of one file: tensors by name, and the text under "__metadata__".
struct Safetensors : StateDict {
  Metadata metadata;
};

/// Maps the file at `path`. The tensors, on the CPU, view the mapping, which lives as long as the last of the
/// tensors. Writing to a tensor leaves the file unchanged. Dtypes F64 F32 F16 BF16 I64 I32 U8 BOOL; tensors
/// of others are listed as unreadable. Throws FileError, one line that begins with the path, for a file that
/// is missing, truncated, malformed, or has more than 2^18 names. A hostile file costs at most 1 KB of memory
/// for each name, plus a few copies of the names.
Safetensors load_safetensors(const std::string& path);

/// Writes `tensors` (any device, any strides) and `metadata` to `path`, whole or not at all (see AtomicFile).
/// Throws Error for an undefined tensor or a name that is not UTF-8, FileError if the file cannot be written.
void save_safetensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata = {});

/// Passes the bytes of the file that save_safetensors() makes to `write`, piece by piece. Throws Error for an
/// undefined tensor or a name that is not UTF-8.
void write_safetensors(const TensorMap& tensors, const Metadata& metadata,
                       const std::function<void(const void* data, size_t size_bytes)>& write);

}  // namespace taper
