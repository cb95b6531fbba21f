//! The integrity table: SHA-1 of each piece of the file from behind the header to the end of the blob table.

use crate::header::{HEADER_LEN, Header};
use rayon::prelude::*;
use reseal_disk::ReadAt;
use reseal_dtyp::{Result, View};
use sha1::{Digest, Sha1};

/// Length of its head in bytes.
const HEAD: usize = 12;
/// Pieces are this long in WIMs of Windows, 10 MiB; longer ones are not read at once.
const MAX_PIECE: u32 = 64 << 20;

/// Ranges of the file whose SHA-1 is not the one in the table; `None` when the WIM has no table.
pub(crate) fn check(store: &dyn ReadAt, header: &Header) -> Result<Option<Vec<std::ops::Range<u64>>>> {
    if header.integrity.is_absent() {
        return Ok(None);
    }
    header.integrity.check_place("integrity table", store.len())?;
    let end = header.blob_table.offset.saturating_add(header.blob_table.stored).min(store.len());
    let covered = end.saturating_sub(HEADER_LEN as u64);
    let mut head = [0; HEAD];
    store.read_at(header.integrity.offset, &mut head)?;
    let view = View::new("integrity table", header.integrity.offset, &head);
    let (size, count, piece) = (view.u32(0, "size")?, view.u32(4, "pieces")?, view.u32(8, "piece size")?);
    if piece == 0 || piece > MAX_PIECE || u64::from(count) != covered.div_ceil(u64::from(piece)) {
        let detail = format!("{count} pieces of {piece} bytes for {covered:#x} bytes");
        return Err(view.damaged(4, "pieces", detail));
    }
    if u64::from(size) != HEAD as u64 + 20 * u64::from(count) || u64::from(size) > header.integrity.stored {
        return Err(view.damaged(0, "size", format!("{size} bytes for {count} pieces")));
    }
    let mut hashes = vec![0; 20 * count as usize];
    store.read_at(header.integrity.offset + HEAD as u64, &mut hashes)?;
    let wrong: Vec<Option<std::ops::Range<u64>>> = hashes
        .par_chunks(20)
        .enumerate()
        .map(|(index, hash)| {
            let start = HEADER_LEN as u64 + index as u64 * u64::from(piece);
            let len = u64::from(piece).min(end - start);
            let mut bytes = vec![0; len as usize];
            store.read_at(start, &mut bytes)?;
            Ok((Sha1::digest(&bytes)[..] != *hash).then_some(start..start + len))
        })
        .collect::<Result<_>>()?;
    Ok(Some(wrong.into_iter().flatten().collect()))
}
