#!/usr/bin/env python3
"""wimlib's codecs through its C library (libwim.so.15): what ours wrote it must read, and what it wrote ours must read.

    wimlib.py pack   KIND CHUNK CONTENT PACKED [RUNS]
    wimlib.py unpack KIND CHUNK PACKED CONTENT [RUNS]

KIND is XPRESS, LZX or LZMS, CHUNK the size of a chunk in bytes. PACKED holds a record for each chunk: stored size and size of the
content (32 bits each, little-endian), then the stored bytes; where both are equal, the content itself. Prints the content's size,
the stored size, and the seconds of processor time that the library took for all chunks, the mean of RUNS. Exit code 3: there is no
such library.
"""

import ctypes
import struct
import sys
import time

KINDS = {"XPRESS": 1, "LZX": 2, "LZMS": 3}
# What a level of zero means to the library: its own default.
LEVEL = 0


def library():
    try:
        lib = ctypes.CDLL("libwim.so.15")
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    lib.wimlib_create_compressor.argtypes = [ctypes.c_int, size, ctypes.c_uint, ctypes.POINTER(pointer)]
    lib.wimlib_create_decompressor.argtypes = [ctypes.c_int, size, ctypes.POINTER(pointer)]
    lib.wimlib_compress.argtypes = [pointer, size, pointer, size, pointer]
    lib.wimlib_compress.restype = size
    lib.wimlib_decompress.argtypes = [pointer, size, pointer, size, pointer]
    return lib


def addresses(buffer, sizes):
    """The address of each piece of a buffer, one behind the other."""
    at = ctypes.addressof(buffer)
    for size in sizes:
        yield at
        at += size


def pack(lib, kind, chunk, content, runs):
    state = ctypes.c_void_p()
    if lib.wimlib_create_compressor(kind, chunk, LEVEL, ctypes.byref(state)) != 0:
        sys.exit("wimlib_create_compressor fails")
    source = ctypes.create_string_buffer(content, max(len(content), 1))
    sizes = [min(chunk, len(content) - at) for at in range(0, len(content), chunk)]
    total = 0.0
    for _ in range(runs):
        targets = [ctypes.create_string_buffer(size) for size in sizes]
        jobs = list(zip(addresses(source, sizes), sizes, targets))
        start = time.process_time()
        # A buffer of one byte less than the content: what does not fit has to be stored.
        stored = [lib.wimlib_compress(a, size, target, size - 1, state) for a, size, target in jobs]
        total += time.process_time() - start
    out, at = bytearray(), 0
    for size, target, count in zip(sizes, targets, stored):
        data = target.raw[:count] if count else content[at : at + size]
        out += struct.pack("<II", len(data), size) + data
        at += size
    return bytes(out), total / runs


def unpack(lib, kind, chunk, packed, runs):
    state = ctypes.c_void_p()
    if lib.wimlib_create_decompressor(kind, chunk, ctypes.byref(state)) != 0:
        sys.exit("wimlib_create_decompressor fails")
    records, at = [], 0
    while at < len(packed):
        stored, size = struct.unpack_from("<II", packed, at)
        records.append((packed[at + 8 : at + 8 + stored], size))
        at += 8 + stored
    total = 0.0
    for _ in range(runs):
        targets = [ctypes.create_string_buffer(max(size, 1)) for _, size in records]
        jobs = [(i, data, size, targets[i]) for i, (data, size) in enumerate(records) if len(data) != size]
        start = time.process_time()
        failed = [i for i, data, size, target in jobs if lib.wimlib_decompress(data, len(data), target, size, state) != 0]
        total += time.process_time() - start
        if failed:
            sys.exit(f"wimlib does not decode {len(failed)} of {len(jobs)} chunks, the first is {failed[0]}")
    contents = [data if len(data) == size else target.raw[:size] for (data, size), target in zip(records, targets)]
    return b"".join(contents), total / runs


def main():
    if len(sys.argv) not in (6, 7) or sys.argv[1] not in ("pack", "unpack") or sys.argv[2] not in KINDS:
        sys.exit(__doc__)
    verb, kind, chunk, source, target = sys.argv[1:6]
    runs = int(sys.argv[6]) if len(sys.argv) == 7 else 1
    with open(source, "rb") as file:
        data = file.read()
    work = pack if verb == "pack" else unpack
    out, seconds = work(library(), KINDS[kind], int(chunk), data, runs)
    with open(target, "wb") as file:
        file.write(out)
    content, stored = (len(data), len(out)) if verb == "pack" else (len(out), len(data))
    print(content, stored, f"{seconds:.6f}")


main()
