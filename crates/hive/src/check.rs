//! Every invariant of the format, on any bytes: the frame (base block, hbins, cells) and the account of all cells.

use crate::base_block::{BaseBlock, LEN, PRIMARY};
use crate::check_tree;
use crate::hive::Hive;
use crate::image::{BIN_HEADER, Image, bin_len, place};
use crate::owners::CellSet;
use crate::space::Space;
use reseal_dtyp::{Finding, Level};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Findings of one kind that are listed; the rest are counted in a last one.
const MAX_OF_A_KIND: usize = 100;

/// A check in progress.
pub(crate) struct Check<'a> {
    pub(crate) image: Cow<'a, Image>,
    pub(crate) root: u32,
    /// Only what edits touched is looked at, and the hbins that it refers to: what other keys use is not known.
    pub(crate) partial: bool,
    /// Hbins whose cells were walked.
    walked: BTreeSet<u32>,
    /// Cells that tile their hbin: starts, and which of them are allocated.
    starts: CellSet,
    allocated: CellSet,
    /// Cells that something refers to.
    used: CellSet,
    found: Findings,
}

/// Findings, at most so many of a kind.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<&'static str, (Level, usize)>,
}

impl Findings {
    fn add(&mut self, level: Level, id: &'static str, place: String, detail: String) {
        let (worst, count) = self.counts.entry(id).or_insert((level, 0));
        *worst = level.max(*worst);
        *count += 1;
        if *count <= MAX_OF_A_KIND {
            self.list.push(Finding::new(level, id, place, detail));
        }
    }

    fn finish(mut self) -> Vec<Finding> {
        for (id, (level, count)) in self.counts {
            if count > MAX_OF_A_KIND {
                let more = format!("{} more findings of this kind", count - MAX_OF_A_KIND);
                self.list.push(Finding::new(level, id, "hive", more));
            }
        }
        self.list.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.id.cmp(b.id)));
        self.list
    }
}

impl Hive {
    /// Checks what [`Hive::to_bytes`] would give. See [`Hive::check_bytes`].
    pub fn check(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        self.check_sealed_base(&mut found);
        check_image(Cow::Borrowed(&self.image), self.root, &[], found)
    }

    /// Checks what edits since opening touched, at a cost that follows the edits and not the hive: the base block, the
    /// hbins that were written (their tiling), every touched key with its lists, names and values, and the ring of security
    /// cells. What stood there before counts, too. [`Hive::check`] finds everything.
    pub fn check_edits(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        self.check_sealed_base(&mut found);
        let mut check = Check::new(Cow::Borrowed(&self.image), self.root, true, found);
        let page = LEN as u32;
        let written = self.image.pages.iter().filter(|&&p| p > 0 && (p - 1) * page < self.image.size);
        let bins: BTreeSet<u32> = written.map(|p| self.image.bin_start((p - 1) * page)).collect();
        bins.into_iter().for_each(|bin| check.cells_of(bin));
        check_tree::run_touched(&mut check, &self.touched);
        check.found.finish()
    }

    /// The base block as it will be written.
    fn check_sealed_base(&self, found: &mut Findings) {
        let mut block = self.image.bytes[..LEN.min(self.image.bytes.len())].to_vec();
        self.seal_block(&mut block);
        match BaseBlock::read(&block) {
            Some(base) => check_base(&base, self.image.bytes.len(), found),
            None => found.add(Level::Damage, "base-block", "base block".into(), "it is too short".into()),
        }
    }

    /// Checks every invariant of a hive file: base block, hbins, tiling of cells, free neighbours, leaked and doubly used
    /// cells, keys, names, parents, list order, hints, hashes and counts, largest-so-far fields, values, big data, class
    /// names, and the ring, counts and descriptors of security cells. Empty when all hold. Never fails, whatever the bytes.
    pub fn check_bytes(bytes: &[u8]) -> Vec<Finding> {
        check(bytes.to_vec())
    }
}

fn check(bytes: Vec<u8>) -> Vec<Finding> {
    let mut found = Findings::default();
    let base = match BaseBlock::read(&bytes).filter(|_| bytes.len() >= LEN) {
        Some(base) if base.signature => base,
        _ => {
            let detail = format!("{} bytes that do not begin with a base block of {LEN}", bytes.len());
            found.add(Level::Damage, "base-block", "base block".into(), detail);
            return found.finish();
        }
    };
    check_base(&base, bytes.len(), &mut found);
    let size = base.bins.min(u32::try_from(bytes.len() - LEN).unwrap_or(u32::MAX)).min(i32::MAX as u32) / 4096 * 4096;
    let mut bins = Vec::new();
    let mut at = 0;
    let mut broken = Vec::new();
    while at < size {
        bins.push(at);
        match bin_len(&bytes, at, size) {
            Ok(len) => at += len,
            Err(e) => {
                found.add(Level::Damage, "hbin", format!("hbin at {:#x}", place(at)), e.to_string());
                // The next page may begin an hbin again.
                broken.push(at);
                at += LEN as u32;
            }
        }
    }
    let image = Image {
        bytes: bytes.into(),
        bins,
        size,
        minor: base.minor,
        space: Space::default(),
        changed: false,
        pages: BTreeSet::new(),
    };
    check_image(Cow::Owned(image), base.root, &broken, found)
}

fn check_image(image: Cow<'_, Image>, root: u32, broken: &[u32], found: Findings) -> Vec<Finding> {
    let mut check = Check::new(image, root, false, found);
    check.cells(broken);
    check_tree::run(&mut check);
    check.leaks();
    check.found.finish()
}

fn check_base(base: &BaseBlock, file_len: usize, found: &mut Findings) {
    let mut add = |level, id, detail: String| found.add(level, id, "base block".into(), detail);
    if base.checksum != base.computed {
        let detail = format!("the checksum is {:#010x}, the bytes give {:#010x}", base.checksum, base.computed);
        add(Level::Damage, "base-block-checksum", detail);
    }
    if base.seq[0] != base.seq[1] {
        let detail = format!("sequence numbers {} and {}: the hive is dirty", base.seq[0], base.seq[1]);
        add(Level::Inconsistent, "base-block-sequence", detail);
    }
    if base.major != 1 || !(3..=6).contains(&base.minor) || base.format != 1 {
        let detail = format!("version {}.{} format {}", base.major, base.minor, base.format);
        add(Level::Damage, "base-block-version", detail);
    }
    if base.kind != PRIMARY {
        add(Level::Damage, "base-block-type", format!("file type {}, a primary hive has 0", base.kind));
    }
    let end = LEN as u64 + u64::from(base.bins);
    if base.bins == 0 || !base.bins.is_multiple_of(LEN as u32) || end > file_len as u64 {
        let detail = format!("hbins of {:#x} bytes in a file of {file_len:#x}", base.bins);
        add(Level::Damage, "base-block-size", detail);
    }
}

impl<'a> Check<'a> {
    fn new(image: Cow<'a, Image>, root: u32, partial: bool, found: Findings) -> Check<'a> {
        let size = image.size;
        let sets = || CellSet::new(size);
        let walked = BTreeSet::new();
        Check { image, root, partial, walked, starts: sets(), allocated: sets(), used: sets(), found }
    }

    pub(crate) fn add(&mut self, level: Level, id: &'static str, place: impl Into<String>, detail: impl Into<String>) {
        self.found.add(level, id, place.into(), detail.into());
    }

    pub(crate) fn damage(&mut self, id: &'static str, place: impl Into<String>, detail: impl Into<String>) {
        self.add(Level::Damage, id, place, detail);
    }

    pub(crate) fn inconsistent(&mut self, id: &'static str, place: impl Into<String>, detail: impl Into<String>) {
        self.add(Level::Inconsistent, id, place, detail);
    }

    /// Walks the cells of every hbin.
    fn cells(&mut self, broken: &[u32]) {
        for i in 0..self.image.bins.len() {
            let bin = self.image.bins[i];
            if broken.binary_search(&bin).is_ok() {
                continue;
            }
            let header = LEN + bin as usize;
            // Offset 12: reserved, and at 28 spare; between them a time that only the first hbin uses.
            let idle = |range| {
                self.image.bytes.get::<std::ops::Range<usize>>(range).is_some_and(|b| b.iter().all(|&b| b == 0))
            };
            if !idle(header + 12..header + 20) {
                self.add(Level::Note, "hbin-reserved", format!("hbin at {header:#x}"), "reserved bytes are not zero");
            }
            self.cells_of(bin);
        }
    }

    fn cells_of(&mut self, bin: u32) {
        self.walked.insert(bin);
        let end = self.image.bin_end(bin);
        let (mut at, mut free_before) = (bin + BIN_HEADER as u32, false);
        while at < end {
            let raw = self.image.raw_size(at);
            let len = raw.unsigned_abs();
            if len < 8 || !len.is_multiple_of(8) || len > end - at {
                let detail = format!("size {raw} does not tile the hbin, which has {:#x} bytes left", end - at);
                self.damage("cell-size", format!("cell at {:#x}", place(at)), detail);
                return;
            }
            self.starts.insert(at);
            if raw < 0 {
                if !self.partial {
                    self.allocated.insert(at);
                }
            } else if free_before && !self.partial {
                let detail = "two free cells side by side in one hbin";
                self.inconsistent("free-neighbours", format!("cell at {:#x}", place(at)), detail);
            }
            free_before = raw > 0;
            at += len;
        }
    }

    /// Accounts for a reference. False, with a finding, unless it leads to an allocated cell that nothing else uses.
    pub(crate) fn take(&mut self, at: u32, what: &str) -> bool {
        let here = || format!("{what} at {:#x}", place(at));
        if self.partial {
            let bin = self.image.bin_start(at);
            if at < self.image.size && !self.walked.contains(&bin) {
                self.cells_of(bin);
            }
            return match self.image.content(at, "cell") {
                Ok(_) if self.starts.contains(at) => true,
                Ok(_) => {
                    self.damage("cell-reference", here(), "no cell starts there");
                    false
                }
                Err(e) => {
                    self.damage("cell-reference", here(), e.to_string());
                    false
                }
            };
        }
        let contains = |set: &CellSet| at.is_multiple_of(8) && set.contains(at);
        if !contains(&self.starts) {
            self.damage("cell-reference", here(), "no cell starts there");
        } else if !contains(&self.allocated) {
            self.damage("cell-reference", here(), "the cell is free");
        } else if !self.used.insert(at) {
            self.damage("cell-used-twice", here(), "the cell belongs to something else already");
        } else {
            return true;
        }
        false
    }

    fn leaks(&mut self) {
        let mut leaked = Vec::new();
        for &bin in &self.image.bins {
            let (mut at, end) = (bin + BIN_HEADER as u32, self.image.bin_end(bin));
            while at < end && self.starts.contains(at) {
                if self.allocated.contains(at) && !self.used.contains(at) {
                    leaked.push(at);
                }
                at += self.image.raw_size(at).unsigned_abs();
            }
        }
        for at in leaked {
            let content = self.image.content(at, "cell").unwrap_or(&[]);
            let head = String::from_utf8_lossy(&content[..content.len().min(2)]).escape_default().to_string();
            let detail = format!("{} bytes beginning `{head}` are allocated, nothing refers to them", content.len());
            self.inconsistent("cell-leaked", format!("cell at {:#x}", place(at)), detail);
        }
    }
}
