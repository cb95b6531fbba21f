//! Chains of clusters.

use crate::layout::{FatType, Layout};
use reseal_disk::ReadAt;
use reseal_dtyp::{Error, Result};
use std::collections::HashSet;

const FAT: &str = "FAT";
/// Bytes of the FAT read at once by [`referred`].
const WINDOW: usize = 64 << 10;

/// What an entry of the FAT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The chain ends here.
    End,
    /// It goes on there.
    Cluster(u32),
    /// Free, reserved or bad: in no chain.
    None(u32),
}

/// The entry of a cluster, whose bytes are the first of `raw`; of 12 bits, two entries share a byte.
fn meaning(ty: FatType, cluster: u32, raw: [u8; 4]) -> Next {
    let value = u32::from_le_bytes(raw);
    let (value, top) = match ty {
        FatType::Fat12 => (value >> (cluster % 2 * 4) & 0xfff, 0xfff),
        FatType::Fat16 => (value & 0xffff, 0xffff),
        FatType::Fat32 => (value & 0x0fff_ffff, 0x0fff_ffff),
    };
    // The last eight values end a chain, the one below marks a bad cluster.
    match value {
        _ if value >= top - 7 => Next::End,
        0 | 1 => Next::None(value),
        _ if value == top - 8 => Next::None(value),
        _ => Next::Cluster(value),
    }
}

fn next(bytes: &dyn ReadAt, layout: &Layout, cluster: u32) -> Result<Next> {
    let (at, len) = layout.entry_at(cluster);
    let mut raw = [0; 4];
    bytes.read_at(at, &mut raw[..len])?;
    Ok(meaning(layout.ty, cluster, raw))
}

/// The clusters of a chain, the first `wanted` of them, or all up to its end where `wanted` is `None`, and then at most
/// `most`. `Damaged` for a chain that is shorter, longer than `most`, runs in a circle or leaves the volume.
pub(crate) fn follow(
    bytes: &dyn ReadAt,
    layout: &Layout,
    first: u32,
    wanted: Option<u64>,
    most: u64,
) -> Result<Vec<u32>> {
    let (mut out, mut seen, mut at) = (Vec::new(), HashSet::new(), first);
    let place = |cluster: u32| layout.entry_at(cluster).0;
    loop {
        let number = out.len() as u64;
        layout.cluster_at(at).map_err(|e| e.within(format!("cluster {number} of the chain from {first:#x}")))?;
        if number >= wanted.unwrap_or(most).min(most) {
            let detail = format!("the chain from {first:#x} has more than {most} clusters");
            return Err(Error::damaged(FAT, "", place(at), detail));
        }
        if !seen.insert(at) {
            let detail = format!("the chain from {first:#x} comes to cluster {at:#x} twice");
            return Err(Error::damaged(FAT, "", place(at), detail));
        }
        out.push(at);
        // Clusters behind what the size asks for were reserved for growth: they are not ours to judge.
        if wanted.is_some_and(|wanted| out.len() as u64 == wanted) {
            return Ok(out);
        }
        match next(bytes, layout, at)? {
            Next::Cluster(after) => at = after,
            Next::End if wanted.is_none() => return Ok(out),
            Next::End => {
                let (has, wanted) = (out.len(), wanted.unwrap_or_default());
                let detail = format!("the chain from {first:#x} ends after {has} clusters, the size asks for {wanted}");
                return Err(Error::damaged(FAT, "", place(at), detail));
            }
            Next::None(value) => {
                let detail = format!("the chain from {first:#x} leads to {value:#x}, which is no cluster of a file");
                return Err(Error::damaged(FAT, "", place(at), detail));
            }
        }
    }
}

/// The first entry of the FAT, besides those of `chain` itself, that leads to one of its clusters; reads the whole FAT.
pub(crate) fn referred(bytes: &dyn ReadAt, layout: &Layout, chain: &[u32]) -> Result<Option<u32>> {
    let own: HashSet<u32> = chain.iter().copied().collect();
    let before: HashSet<(u32, u32)> = chain.windows(2).map(|pair| (pair[0], pair[1])).collect();
    // Twelve bits: two entries in three bytes, so that a window begins with an even entry.
    let per_window = match layout.ty {
        FatType::Fat12 => WINDOW / 3 * 2,
        FatType::Fat16 => WINDOW / 2,
        FatType::Fat32 => WINDOW / 4,
    } as u32;
    let mut start = 0;
    while start < layout.end_cluster {
        let end = start.saturating_add(per_window).min(layout.end_cluster);
        let from = layout.entry_at(start).0;
        let (last, len) = layout.entry_at(end - 1);
        let mut window = vec![0; (last - from) as usize + len];
        bytes.read_at(from, &mut window)?;
        for cluster in start.max(2)..end {
            let (at, len) = layout.entry_at(cluster);
            let mut raw = [0; 4];
            raw[..len].copy_from_slice(&window[(at - from) as usize..(at - from) as usize + len]);
            if let Next::Cluster(to) = meaning(layout.ty, cluster, raw)
                && own.contains(&to)
                && !before.contains(&(cluster, to))
            {
                return Ok(Some(cluster));
            }
        }
        start = end;
    }
    Ok(None)
}
