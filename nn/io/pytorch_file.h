#pragma once
// PyTorch's own files, .pt and .pth: what torch.save() writes. Since PyTorch 1.6 such a file is a zip archive of
// one pickle and one member for each storage; before, it was five pickles and the storages' bytes. Pickles are
// programs, and a stranger's pickle can run anything; here nothing in it is run (nn/io/pickle_reader.h).
// PyTorch's counterpart: torch/serialization.py.

#include <string>
#include <string_view>

#include "taper/nn/io/pickle_value.h"
#include "taper/nn/tensor_map.h"

namespace taper {

/// Returns what was saved: a state dict, or a dict with one in it (nn/io/state_dict.h takes it out). Tensors
/// are on the CPU, with the strides they were saved with, and do not require gradients. Those that shared
/// storage share it again. They view the mapped file, and are copied only where the file leaves them unaligned;
/// writing to them never changes the file. Reads dicts, lists, tuples, texts, numbers, None and tensors of the
/// dtypes f32 f64 f16 bf16 i64 i32 u8 bool; tensors of other dtypes are ForeignTensors. Throws FileError, one
/// line that begins with the path, for all else: other files, damaged ones, big-endian ones, whole modules,
/// TorchScript, and pickles that want more. A hostile file costs at most 128 bytes of memory for each of its
/// own, and its tensors have at most 16 times its bytes, plus 1 MiB.
PickleValue load_pytorch(const std::string& path);

/// Writes `value` to `path`, whole or not at all (see AtomicFile), as a file that torch.load(path,
/// weights_only=True) reads (PyTorch 1.13 reads no float beside the tensors so, not even from its own files).
/// Tensors may be on any device and keep their strides; those that share storage
/// share it in the file, too, and only the part of a storage that they use is written. Throws Error for an
/// undefined tensor, a ForeignTensor, a text that is not UTF-8, and values that nest deeper than
/// kMaxPickleDepth; FileError if the file cannot be written. (torch.save)
void save_pytorch(const std::string& path, const PickleValue& value);
/// Writes a dict of tensors: a state dict.
void save_pytorch(const std::string& path, const TensorMap& tensors);

/// Returns whether a file that begins with `bytes` may be one of PyTorch's: a zip archive or a pickle.
bool is_pytorch_file(std::string_view bytes);

}  // namespace taper
