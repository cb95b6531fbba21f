//! The integrity table: SHA-1 of each piece of the file from behind the header to the end of the blob table.

use crate::header::{HEADER_LEN, Header};
use crate::writer::Output;
use rayon::prelude::*;
use reseal_disk::ReadAt;
use reseal_dtyp::{Error, Kind, Result, View};
use sha1::{Digest, Sha1};

/// Length of its head in bytes.
const HEAD: usize = 12;
/// Pieces are this long in WIMs of Windows, 10 MiB; longer ones are not read at once.
const MAX_PIECE: u32 = 64 << 20;
/// The length of a piece in tables of ours.
const PIECE: u64 = 10 << 20;

/// Length of a table for so many bytes.
pub(crate) fn table_len(covered: u64) -> u64 {
    HEAD as u64 + 20 * covered.div_ceil(PIECE)
}

/// The table of a file whose blob table ends at `end`. `known` are the hashes of the first pieces, which did not change.
pub(crate) fn table(output: &dyn Output, end: u64, known: &[[u8; 20]]) -> Result<Vec<u8>> {
    let covered = end.saturating_sub(HEADER_LEN as u64);
    let count = u32::try_from(covered.div_ceil(PIECE))
        .map_err(|_| Error::new(Kind::Limit, format!("{covered:#x} bytes are more than an integrity table covers")))?;
    let mut out = Vec::with_capacity(HEAD + 20 * count as usize);
    out.extend((HEAD as u32 + 20 * count).to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend((PIECE as u32).to_le_bytes());
    let mut bytes = Vec::new();
    for index in 0..u64::from(count) {
        if let Some(hash) = known.get(index as usize) {
            out.extend(hash);
            continue;
        }
        let start = HEADER_LEN as u64 + index * PIECE;
        bytes.resize(PIECE.min(end - start) as usize, 0);
        output.read_at(start, &mut bytes)?;
        out.extend(Sha1::digest(&bytes));
    }
    Ok(out)
}

/// The hashes of whole pieces below `unchanged` in the table of a WIM; none where its pieces have another length than ours.
pub(crate) fn known(store: &dyn ReadAt, header: &Header, unchanged: u64) -> Result<Vec<[u8; 20]>> {
    let Some((piece, hashes, end)) = read(store, header)? else { return Ok(Vec::new()) };
    if u64::from(piece) != PIECE {
        return Ok(Vec::new());
    }
    let whole = unchanged.min(end).saturating_sub(HEADER_LEN as u64) / PIECE;
    let hash = |hash: &[u8]| {
        let mut out = [0; 20];
        out.copy_from_slice(hash);
        out
    };
    Ok(hashes.chunks_exact(20).map(hash).take(whole as usize).collect())
}

/// Length of a piece, all hashes, and where what they cover ends; `None` when the WIM has no table.
fn read(store: &dyn ReadAt, header: &Header) -> Result<Option<(u32, Vec<u8>, u64)>> {
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
    Ok(Some((piece, hashes, end)))
}

/// Ranges of the file whose SHA-1 is not the one in the table; `None` when the WIM has no table.
pub(crate) fn check(store: &dyn ReadAt, header: &Header) -> Result<Option<Vec<std::ops::Range<u64>>>> {
    let Some((piece, hashes, end)) = read(store, header)? else { return Ok(None) };
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
