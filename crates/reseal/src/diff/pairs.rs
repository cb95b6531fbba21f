//! Which volume of one image stands for which of the other.

use super::{DiffEntry, DiffKind};
use crate::image::DiskImage;
use reseal_disk::{Partition, PartitionType};
use std::sync::Arc;

/// A partition of the first image, of the second, or of both.
pub(super) struct Pair<'a> {
    pub(super) sides: [Option<&'a Partition>; 2],
}

impl Pair<'_> {
    /// How messages name it.
    pub(super) fn place(&self) -> String {
        self.sides.iter().flatten().next().map(|p| DiskImage::place(p)).unwrap_or_default()
    }

    /// What the tables say differently of it. Where a volume lies says nothing of what it holds.
    pub(super) fn table_entries(&self) -> Vec<DiffEntry> {
        let [Some(a), Some(b)] = self.sides else { return Vec::new() };
        let facts = [
            ("type", [shown_type(a.ty), shown_type(b.ty)]),
            ("name", [a.name.clone(), b.name.clone()]),
            ("length", [a.len.to_string(), b.len.to_string()]),
        ];
        let differ = facts.into_iter().filter(|(_, [a, b])| a != b);
        differ
            .map(|(name, sides)| DiffEntry::new(DiffKind::Partition, "", sides.map(|s| Some(Arc::from(s)))).named(name))
            .collect()
    }
}

fn shown_type(ty: PartitionType) -> String {
    match ty {
        PartitionType::Gpt(guid) => guid.to_string(),
        PartitionType::Mbr(byte) => format!("{byte:#04x}"),
        PartitionType::Whole => "whole disk".to_owned(),
    }
}

/// Partitions of one number belong together; when no number is common to both images (a bare volume against a partition,
/// `A#p3` against `B#p1`), the order decides.
pub(super) fn pairs<'a>(images: [&'a DiskImage; 2]) -> Vec<Pair<'a>> {
    let [a, b]: [Vec<&Partition>; 2] = images.map(|image| image.partitions().collect());
    let twin = |p: &Partition, list: &[&'a Partition]| list.iter().find(|q| q.number == p.number).copied();
    let mut out: Vec<Pair<'a>> = Vec::new();
    if a.iter().any(|p| twin(p, &b).is_some()) {
        out.extend(a.iter().map(|p| Pair { sides: [Some(*p), twin(p, &b)] }));
        out.extend(b.iter().filter(|p| twin(p, &a).is_none()).map(|p| Pair { sides: [None, Some(*p)] }));
        out.sort_by_key(|pair| pair.sides.iter().flatten().next().map_or(0, |p| p.number));
    } else {
        let at = |list: &[&'a Partition], i: usize| list.get(i).copied();
        out.extend((0..a.len().max(b.len())).map(|i| Pair { sides: [at(&a, i), at(&b, i)] }));
    }
    out
}
