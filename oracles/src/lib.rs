//! Crates of other authors, as readers of what ours wrote. Nothing here is published: one of them is under the GPL.
//!
//! | crate | reads here | what it cannot, found by trying |
//! |---|---|---|
//! | `nt-hive` 0.3 | every key, class name, value name and datum of hives after 1,000 edits | descriptors, logs; data types above 11; values above 16,344 bytes in hives before version 1.4 |
//! | `ntfs` 0.4 | names and contents of volumes that we wrote | attribute lists whose first extent lies in the base record (length 0), LZNT1, WOF, bytes behind the initialized size: silently wrong; folders with clusters above 4 KiB |
//! | `vhdx` 0.1 | fixed and dynamic disks below 4 GiB with a clean log | larger disks (panic), a log with entries (endless loop), the end of the disk (panic); it opens the file for writing |
//!
//! wimlib's C library, called through `wimlib.py`, decodes what the compressors of `reseal-codec` wrote. The other readers that are
//! not crates (ntfs-3g, libhivex, QEMU, impacket, the Linux kernel) are called by the
//! tests of `reseal-cli`.
#![forbid(unsafe_code)]
