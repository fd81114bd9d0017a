"""The safetensors format, read and written with PyTorch alone.

A file is 8 bytes of header length (little-endian), a JSON header of names, types, shapes and offsets, and the tensors' bytes.
"""

from __future__ import annotations

import ctypes
import json
import struct
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

import torch
from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000


class FormatError(ValueError):
    """Bytes that are no safetensors file."""


def write_safetensors(path: Union[str, Path], tensors: Mapping[str, Tensor], metadata: Optional[Mapping[str, str]] = None) -> None:
    """Writes ``tensors`` in the order given; each is copied to the processor and made contiguous."""
    header: Dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for tensor in tensors.values():
            file.write(_bytes_of(tensor))


def read_safetensors(path: Union[str, Path]) -> "tuple[Dict[str, Tensor], Dict[str, str]]":
    """The tensors of a file, by name, and its metadata.

    Raises FormatError where the file contradicts itself.
    """
    data = bytearray(Path(path).read_bytes())
    if len(data) < 8:
        raise FormatError(f"{path} has {len(data)} bytes; a safetensors file begins with 8 bytes of header length")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(_MAX_HEADER, len(data) - 8):
        raise FormatError(f"{path} announces a header of {length} bytes and has {len(data) - 8}")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
    except ValueError as error:
        raise FormatError(f"{path} has a header that is not JSON: {error}") from error
    metadata = header.pop("__metadata__", {})
    body = 8 + length
    return {name: _tensor(path, name, entry, data, body) for name, entry in header.items()}, metadata


def _tensor(path: Union[str, Path], name: str, entry: Any, data: bytearray, body: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        count = 1
        for size in shape:
            count *= size
        width = torch.empty(0, dtype=dtype).element_size()
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} describes tensor {name!r} by {entry!r}") from error
    if not (0 <= begin <= end and body + end <= len(data) and end - begin == count * width):
        raise FormatError(f"{path} puts tensor {name!r}, {entry!r}, at bytes that do not fit it")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    # a copy of its own: aligned, and free of the file's bytes
    return torch.frombuffer(bytearray(data[body + begin : body + end]), dtype=dtype).view(shape)


def _bytes_of(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    # by address, since NumPy is no part of PyTorch
    return ctypes.string_at(plain.data_ptr(), plain.numel() * plain.element_size()) if plain.numel() else b""
