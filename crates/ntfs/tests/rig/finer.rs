//! The same blank volume in smaller clusters: mkntfs makes records of 4 KiB in sectors of 4 KiB only.

use super::raw::{Raw, entries, set, u16_at, u32_at, u64_at};

const CLUSTER: usize = 512;

/// First virtual cluster, place, length.
type Runs = Vec<(usize, Option<usize>, usize)>;

/// Mapping pairs in as few bytes as hold them.
fn pairs(runs: &[(usize, Option<usize>, usize)]) -> Vec<u8> {
    let width = |value: i64| (1..8).find(|n| value >> (8 * n - 1) == 0 || value >> (8 * n - 1) == -1).unwrap();
    let (mut out, mut last) = (Vec::new(), 0);
    for (_, lcn, len) in runs {
        let len = *len as i64;
        let step = lcn.map(|lcn| lcn as i64 - last);
        let (low, high) = (width(len), step.map_or(0, width));
        out.push((low | high << 4) as u8);
        out.extend_from_slice(&len.to_le_bytes()[..low]);
        out.extend_from_slice(&step.unwrap_or(0).to_le_bytes()[..high]);
        last += step.unwrap_or(0);
    }
    out.push(0);
    out
}

/// The attribute with runs and virtual clusters that are `times` smaller.
fn refine(attribute: &[u8], runs: &Runs, times: usize) -> Vec<u8> {
    let finer: Runs = runs.iter().map(|r| (r.0 * times, r.1.map(|lcn| lcn * times), r.2 * times)).collect();
    let start = u16_at(attribute, 0x20);
    let mut out = attribute[..start].to_vec();
    out.extend(pairs(&finer));
    out.resize(out.len().next_multiple_of(8), 0);
    let len = out.len() as u64;
    set(&mut out, 4, 4, len);
    let end = (u64_at(attribute, 0x18) + 1) * times as u64;
    set(&mut out, 0x18, 8, end - 1);
    out
}

/// Takes a blank volume of mkntfs with equal sectors and clusters, of 4 KiB say; returns it with sectors and clusters of 512
/// bytes. Records and index blocks keep their size and place, and $Bitmap moves, as it needs more room.
pub fn with_clusters_of_512_bytes(bytes: Vec<u8>) -> Vec<u8> {
    let mut raw = Raw::new(bytes);
    let times = raw.cluster / CLUSTER;
    assert_eq!((u16_at(&raw.bytes, 0xb), raw.bytes[0xd]), (raw.cluster, 1));
    let bitmap = grow_bitmap(&mut raw, times);
    let record = raw.record(0);
    let size = u64_at(&record, raw.find(&record, 0x80, "").unwrap() + 0x30) as usize;
    for index in 0..size / raw.record_size {
        let record = raw.record(index);
        if !record.starts_with(b"FILE") || record[0x16] & 1 == 0 {
            continue;
        }
        let runs: Vec<Option<Runs>> =
            raw.attributes(&record).iter().map(|a| (record[a.0 + 8] == 1).then(|| raw.runs(&record, a.0))).collect();
        check_blocks(&raw, &record);
        raw.edit_attributes(index, |all| {
            for (attribute, runs) in all.iter_mut().zip(&runs) {
                let is_bitmap = index == 6 && u32_at(attribute, 0) == 0x80;
                if let Some(runs) = runs {
                    *attribute = refine(attribute, if is_bitmap { &bitmap.0 } else { runs }, times);
                }
                if is_bitmap {
                    let room = bitmap.0[0].2 * times * CLUSTER;
                    set(attribute, 0x18, 8, (room / CLUSTER) as u64 - 1);
                    set(attribute, 0x28, 8, room as u64);
                    set(attribute, 0x30, 8, bitmap.1 as u64);
                    set(attribute, 0x38, 8, bitmap.1 as u64);
                }
                // Where it stood in clusters of a block's size, the length of a block counted one.
                if u32_at(attribute, 0) == 0x90 {
                    let value = u16_at(attribute, 0x14);
                    attribute[value + 0xc] = (u32_at(attribute, value + 8) / CLUSTER) as u8;
                }
            }
        });
    }
    boot_sectors(&mut raw, times);
    raw.bytes
}

/// Blank folders have a single index block at most, whose number is 0 in any unit.
fn check_blocks(raw: &Raw, record: &[u8]) {
    for (at, kind, _) in raw.attributes(record) {
        if kind == 0xa0 {
            assert_eq!(u64_at(record, at + 0x30), 4096, "more than one index block");
            let block = raw.place(&raw.runs(record, at), 0);
            assert_eq!(u64_at(&raw.bytes, block + 0x10), 0);
        }
        if kind == 0x90 {
            let value = raw.value(record, at);
            for (entry, len, flags) in entries(record, value + 0x10) {
                assert!(flags & 1 == 0 || u64_at(record, entry + len - 8) == 0);
            }
        }
    }
}

/// Writes $Bitmap with a bit for each new cluster into a free place. Its runs in old clusters, and its size in bytes.
fn grow_bitmap(raw: &mut Raw, times: usize) -> (Runs, usize) {
    let record = raw.record(6);
    let at = raw.find(&record, 0x80, "").unwrap();
    let (runs, size) = (raw.runs(&record, at), u64_at(&record, at + 0x30) as usize);
    let mut bits: Vec<bool> =
        (0..size * 8).map(|bit| raw.bytes[raw.place(&runs, bit / 8)] >> (bit % 8) & 1 != 0).collect();
    for lcn in runs.iter().flat_map(|r| r.1.unwrap()..r.1.unwrap() + r.2) {
        bits[lcn] = false;
        raw.bytes[lcn * raw.cluster..(lcn + 1) * raw.cluster].fill(0);
    }
    let needed = (size * times).div_ceil(raw.cluster);
    let place = bits.windows(needed).position(|w| w.iter().all(|taken| !taken)).unwrap();
    bits[place..place + needed].fill(true);
    for (bit, _) in bits.iter().enumerate().filter(|b| *b.1) {
        for finer in bit * times..(bit + 1) * times {
            raw.bytes[place * raw.cluster + finer / 8] |= 1 << (finer % 8);
        }
    }
    (vec![(0, Some(place), needed)], size * times)
}

fn boot_sectors(raw: &mut Raw, times: usize) {
    let record_size = raw.record_size;
    let sectors = u64_at(&raw.bytes, 0x28) as usize * times;
    for (field, factor) in [(0x28, times), (0x30, times), (0x38, times)] {
        let value = u64_at(&raw.bytes, field) as usize * factor;
        set(&mut raw.bytes, field, 8, value as u64);
    }
    set(&mut raw.bytes, 0xb, 2, CLUSTER as u64);
    raw.bytes[0x40] = (record_size / CLUSTER) as u8;
    raw.bytes[0x44] = (4096 / CLUSTER) as u8;
    // The backup lies right behind the sectors that count.
    raw.bytes.truncate((sectors + 1) * CLUSTER);
    raw.bytes.copy_within(..CLUSTER, sectors * CLUSTER);
}
