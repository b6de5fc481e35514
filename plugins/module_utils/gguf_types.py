# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of the GGUF format: value types, tensor types, file types, and the limits of our reader (row S4).

The tables follow ggml.h of llama.cpp; a unit test compares them with those of the PyPI package `gguf`.
"""

from __future__ import annotations

from typing import NamedTuple

MAGIC = b"GGUF"
# What a big-endian writer leaves when it writes the magic as a number.
MAGIC_SWAPPED = b"FUGG"
VERSION = 3
VERSIONS_READ = (2, 3)
DEFAULT_ALIGNMENT = 32
ALIGNMENT_MAX = 65536
I64_MAX = (1 << 63) - 1

# Ollama's own limits.
STRING_MAX_BYTES = 16 * 1024 * 1024
ARRAY_MAX_ELEMENTS = 64 * 1024 * 1024
# The format's.
KEY_MAX_BYTES = 65535
DIMENSIONS_MAX = 4
# ggml's GGML_MAX_NAME, its closing zero included: a longer tensor name is refused when it is loaded.
TENSOR_NAME_BYTES = 64

# Ours. The largest tokenizers known have 262,144 tokens and 515,000 merges in a header of 16 MB, the largest
# models some thousand tensors and a few hundred keys; what is beyond these limits is not read on, and said so.
HEADER_MAX_BYTES = 24 * 1024 * 1024
STRINGS_MAX = 2 * 1024 * 1024
KEYS_MAX = 10_000
TENSORS_MAX = 32_768
NESTING_MAX = 4
# What is kept of the metadata, in bytes: of one value, of one chat template, of everything.
VALUE_KEPT_BYTES = 1024
TEMPLATE_KEPT_BYTES = 256 * 1024
KEPT_BYTES = 2 * 1024 * 1024

# The shortest key with its value, and the shortest entry of the tensor table, in bytes: with these a count is
# held against the file's size before anything is counted.
KEY_LEAST_BYTES = 8 + 4 + 1
TENSOR_LEAST_BYTES = 8 + 4 + 4 + 8

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
VALUE_NAMES = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64")
# Bytes and struct code of each value type that has a fixed size.
SCALARS: dict[int, tuple[int, str]] = {
    U8: (1, "B"),
    I8: (1, "b"),
    U16: (2, "H"),
    I16: (2, "h"),
    U32: (4, "I"),
    I32: (4, "i"),
    F32: (4, "f"),
    BOOL: (1, "B"),
    U64: (8, "Q"),
    I64: (8, "q"),
    F64: (8, "d"),
}


class TensorType(NamedTuple):
    """A ggml type: its name, how many numbers a block holds, and how many bytes a block takes."""

    name: str
    block: int
    size: int


TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 40),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}


class FileType(NamedTuple):
    """A value of general.file_type: its name, and the bits a weight takes on average in such a file."""

    name: str
    bits: float


# The averages are those of llama.cpp's quantize tool over the layers of a Llama model. Embedding and output
# tensors are quantised apart, and are left out where these numbers are used.
FILE_TYPES: dict[int, FileType] = {
    0: FileType("F32", 32.0),
    1: FileType("F16", 16.0),
    2: FileType("Q4_0", 4.5),
    3: FileType("Q4_1", 5.0),
    7: FileType("Q8_0", 8.5),
    8: FileType("Q5_0", 5.5),
    9: FileType("Q5_1", 6.0),
    10: FileType("Q2_K", 3.0),
    11: FileType("Q3_K_S", 3.45),
    12: FileType("Q3_K_M", 3.85),
    13: FileType("Q3_K_L", 4.2),
    14: FileType("Q4_K_S", 4.55),
    15: FileType("Q4_K_M", 4.8),
    16: FileType("Q5_K_S", 5.5),
    17: FileType("Q5_K_M", 5.65),
    18: FileType("Q6_K", 6.56),
    19: FileType("IQ2_XXS", 2.1),
    20: FileType("IQ2_XS", 2.35),
    21: FileType("Q2_K_S", 2.75),
    22: FileType("IQ3_XS", 3.3),
    23: FileType("IQ3_XXS", 3.1),
    24: FileType("IQ1_S", 1.6),
    25: FileType("IQ4_NL", 4.5),
    26: FileType("IQ3_S", 3.44),
    27: FileType("IQ3_M", 3.65),
    28: FileType("IQ2_S", 2.55),
    29: FileType("IQ2_M", 2.7),
    30: FileType("IQ4_XS", 4.25),
    31: FileType("IQ1_M", 1.8),
    32: FileType("BF16", 16.0),
    36: FileType("TQ1_0", 1.7),
    37: FileType("TQ2_0", 2.1),
    38: FileType("MXFP4_MOE", 4.3),
    39: FileType("NVFP4", 4.5),
    40: FileType("Q1_0", 1.15),
}


def value_name(number: int) -> str:
    """Return the name of a value type, or its number when it has none."""
    return VALUE_NAMES[number] if 0 <= number < len(VALUE_NAMES) else str(number)


def tensor_name(number: int) -> str:
    """Return the name of a tensor type, or its number when it has none."""
    known = TENSOR_TYPES.get(number)
    return known.name if known else str(number)
