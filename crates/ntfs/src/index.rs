//! Index nodes: the value of `$INDEX_ROOT` and the blocks of `$INDEX_ALLOCATION`.
//!
//! ```text
//! $INDEX_ROOT  type collation block_size …  ┐ 0x10
//! INDX block   magic usa lsn vcn            ┤ 0x18   INDEX_HEADER  first_entry used allocated flags   entry entry … END
//!                                           ┘
//! entry        reference or data place, length, key length, flags, key, …, child VCN (flag 1)
//! ```

use reseal_dtyp::{Result, View};

/// Entry and header flags.
pub(crate) const HAS_CHILD: u16 = 1;
pub(crate) const LAST: u16 = 2;

/// Offset of the INDEX_HEADER in a root value and in a block.
pub(crate) const ROOT_HEADER: usize = 0x10;
pub(crate) const BLOCK_HEADER: usize = 0x18;
/// Length of the INDEX_HEADER.
pub(crate) const HEADER_LEN: usize = 0x10;
/// Entry bytes before the key.
pub(crate) const ENTRY_HEADER: usize = 0x10;

/// Collation rules.
pub(crate) mod collation {
    pub(crate) const FILE_NAME: u32 = 1;
    pub(crate) const ULONG: u32 = 0x10;
    pub(crate) const SID: u32 = 0x11;
    pub(crate) const SECURITY_HASH: u32 = 0x12;
    pub(crate) const ULONGS: u32 = 0x13;
}

/// One entry, lengths checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Offset in the node.
    pub(crate) offset: usize,
    /// The whole entry.
    pub(crate) bytes: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) flags: u16,
    /// VCN of the child node.
    pub(crate) child: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Whether it is the END entry, which has no key.
    pub(crate) fn is_last(&self) -> bool {
        self.flags & LAST != 0
    }

    /// The first eight bytes: in a directory the file reference.
    pub(crate) fn reference(&self) -> u64 {
        self.bytes.get(..8).map_or(0, |b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
    }

    /// In a view index: the data that belongs to the key.
    pub(crate) fn data(&self) -> Option<&'a [u8]> {
        let word = |o: usize| self.bytes.get(o..o + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        let (offset, len) = (word(0)?, word(2)?);
        self.bytes.get(offset..offset + len)
    }

    /// The entry without its child VCN and flags: what moves when a tree is rearranged.
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - if self.child.is_some() { 8 } else { 0 }]
    }
}

/// The INDEX_HEADER of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// Offset of the first entry in the node.
    pub(crate) first: usize,
    /// Offset behind the last entry in the node.
    pub(crate) end: usize,
    /// Offset behind the space for entries.
    pub(crate) limit: usize,
    pub(crate) flags: u32,
}

/// Reads the header that lies at `offset` in a node.
pub(crate) fn header(node: &[u8], offset: usize, at: u64) -> Result<Header> {
    let view = View::new("index header", at, node);
    let first = view.u32(offset, "FirstIndexEntry")? as usize;
    let used = view.u32(offset + 4, "FirstFreeByte")? as usize;
    let allocated = view.u32(offset + 8, "BytesAvailable")? as usize;
    let flags = view.u32(offset + 0xc, "Flags")?;
    let room = node.len().saturating_sub(offset);
    if first < HEADER_LEN || !first.is_multiple_of(8) || first > used || used > room {
        let detail = format!("entries from {first:#x} to {used:#x}, the node has {room:#x}");
        return Err(view.damaged(offset, "FirstIndexEntry", detail));
    }
    Ok(Header { first: offset + first, end: offset + used, limit: offset.saturating_add(allocated), flags })
}

/// The entries of a node in order, the END entry included; stops behind it or at the first error.
pub(crate) fn entries(node: &[u8], header_offset: usize, at: u64) -> Result<Entries<'_>> {
    let header = header(node, header_offset, at)?;
    Ok(Entries { node: &node[..header.end], next: Some(header.first), at })
}

/// Iterator over the entries of a node.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    node: &'a [u8],
    next: Option<usize>,
    at: u64,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Result<Entry<'a>>> {
        let offset = self.next.take()?;
        let entry = read(self.node, offset, self.at);
        if let Some(e) = entry.as_ref().ok().filter(|e| !e.is_last()) {
            // Every entry is at least 16 bytes long, so the walk ends with the node.
            self.next = Some(offset + e.bytes.len());
        }
        Some(entry)
    }
}

fn read(node: &[u8], offset: usize, at: u64) -> Result<Entry<'_>> {
    let rest = node.get(offset..).unwrap_or_default();
    let view = View::new("index entry", at.saturating_add(offset as u64), rest);
    let len = usize::from(view.u16(8, "Length")?);
    let key_len = usize::from(view.u16(0xa, "AttributeLength")?);
    let flags = view.u16(0xc, "Flags")?;
    let child_len = if flags & HAS_CHILD != 0 { 8 } else { 0 };
    if len % 8 != 0 || len < ENTRY_HEADER + child_len || len > rest.len() {
        let detail = format!("{len} bytes with flags {flags}, {} are left in the node", rest.len());
        return Err(view.damaged(8, "Length", detail));
    }
    let bytes = &rest[..len];
    let room = len - ENTRY_HEADER - child_len;
    let key = if flags & LAST != 0 { &[][..] } else { &bytes[ENTRY_HEADER..] };
    if flags & LAST == 0 && (key_len == 0 || key_len > room) {
        return Err(view.damaged(0xa, "AttributeLength", format!("a key of {key_len} bytes in an entry of {len}")));
    }
    let key = if flags & LAST != 0 { key } else { &key[..key_len] };
    let child = if child_len > 0 { Some(view.u64(len - 8, "child VCN")?) } else { None };
    Ok(Entry { offset, bytes, key, flags, child })
}
