//! The set of replacements and how it is applied to bytes.

use aho_corasick::{AhoCorasick, MatchKind};
use reseal_dtyp::{DomainSid, Error, Kind, Result, utf16le};
use std::ops::AddAssign;

/// Machine SIDs to replace, all at once: `S-1-5-21-a-b-c` becomes `S-1-5-21-x-y-z` with whatever RID follows.
///
/// Foreign SIDs, also other `S-1-5-21` triples, are never touched.
#[derive(Clone)]
pub struct SidMap {
    pairs: Vec<(DomainSid, DomainSid)>,
    /// Patterns of the old SIDs; index is `pair * FORMS.len() + form`. No SID stands inside another, but the text of one may
    /// be the beginning of another's: the longest counts.
    finder: AhoCorasick,
}

/// How a SID stands in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// [MS-DTYP] 2.4.2.2 packet form.
    Binary,
    /// `S-1-5-21-…` in ASCII or UTF-8.
    Ascii,
    /// `S-1-5-21-…` in UTF-16LE, at any byte alignment.
    Utf16,
}

/// The patterns of one SID: binary, then each text form with upper- and lower-case `S`.
const FORMS: [Form; 5] = [Form::Binary, Form::Ascii, Form::Ascii, Form::Utf16, Form::Utf16];

/// How many SIDs were found, by form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// Packet form.
    pub binary: usize,
    /// ASCII or UTF-8 text.
    pub ascii: usize,
    /// UTF-16LE text.
    pub utf16: usize,
}

impl Hits {
    /// All forms together.
    pub fn total(&self) -> usize {
        self.binary + self.ascii + self.utf16
    }

    fn add(&mut self, form: Form) {
        match form {
            Form::Binary => self.binary += 1,
            Form::Ascii => self.ascii += 1,
            Form::Utf16 => self.utf16 += 1,
        }
    }
}

impl AddAssign for Hits {
    fn add_assign(&mut self, other: Hits) {
        self.binary += other.binary;
        self.ascii += other.ascii;
        self.utf16 += other.utf16;
    }
}

/// One SID found in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// Byte offset of the first byte of the SID (binary: of its revision byte).
    pub offset: usize,
    /// How it is written.
    pub form: Form,
    /// Which pair of the map it belongs to.
    pub pair: usize,
}

impl SidMap {
    /// A map of old → new. `Conflict` when an old or a new SID is named twice, or a new one is also an old one (a chain).
    pub fn new(pairs: impl IntoIterator<Item = (DomainSid, DomainSid)>) -> Result<SidMap> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        for (i, (old, new)) in pairs.iter().enumerate() {
            let clash = |what: &str| Err(Error::new(Kind::Conflict, format!("{what} in the map {old} → {new}")));
            if pairs[..i].iter().any(|(o, _)| o == old) {
                return clash("the old SID is named twice");
            }
            if pairs[..i].iter().any(|(_, n)| n == new) {
                return clash("the new SID is named twice");
            }
            if pairs.iter().any(|(o, _)| o == new) {
                return clash("the new SID is also an old one");
            }
        }
        let patterns = pairs.iter().flat_map(|(old, _)| patterns(*old));
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns)
            .map_err(|e| Error::new(Kind::Limit, format!("{} SIDs are too many to search for: {e}", pairs.len())))?;
        Ok(SidMap { pairs, finder })
    }

    /// The pairs, in the order given.
    pub fn pairs(&self) -> &[(DomainSid, DomainSid)] {
        &self.pairs
    }

    /// The map that undoes this one.
    pub fn reversed(&self) -> SidMap {
        let back = self.pairs.iter().map(|(old, new)| (*new, *old));
        SidMap::new(back).expect("a valid map has distinct SIDs on both sides, so its reverse is valid")
    }

    /// What replaces a machine SID, if anything does.
    pub fn get(&self, old: DomainSid) -> Option<DomainSid> {
        self.pairs.iter().find(|(o, _)| *o == old).map(|(_, new)| *new)
    }

    /// Every old SID in `bytes`, in all forms, in order of offset.
    pub fn find<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Occurrence> + 'a {
        self.finder.find_iter(bytes).filter_map(move |m| {
            let (pair, form) = (m.pattern().as_usize() / FORMS.len(), FORMS[m.pattern().as_usize() % FORMS.len()]);
            let offset = match form {
                Form::Binary => {
                    // Revision 1 and 4 to 15 sub-authorities precede the authority; anything else is chance.
                    let start = m.start().checked_sub(2)?;
                    let header = &bytes[start..m.start()];
                    (header[0] == 1 && (4..=15).contains(&header[1])).then_some(start)?
                }
                // A longer third number is another SID.
                Form::Ascii => (!digit_at(bytes, m.end(), 1)).then_some(m.start())?,
                Form::Utf16 => (!digit_at(bytes, m.end(), 2)).then_some(m.start())?,
            };
            Some(Occurrence { offset, form, pair })
        })
    }

    /// Whether any old SID stands in `bytes`.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.find(bytes).next().is_some()
    }

    /// Counts the old SIDs in `bytes`.
    pub fn count(&self, bytes: &[u8]) -> Hits {
        let mut hits = Hits::default();
        self.find(bytes).for_each(|o| hits.add(o.form));
        hits
    }

    /// Replaces the binary form in place; returns how many.
    pub fn rewrite_binary(&self, bytes: &mut [u8]) -> usize {
        let found: Vec<_> = self.find(bytes).filter(|o| o.form == Form::Binary).collect();
        for occurrence in &found {
            let start = occurrence.offset + 2;
            bytes[start..start + 22].copy_from_slice(&self.pairs[occurrence.pair].1.pattern());
        }
        found.len()
    }

    /// Replaces all forms in place, keeping the length: for data whose structure is not known. Text whose new form has
    /// another length is left and counted in [`InPlace::left`].
    pub fn rewrite_in_place(&self, bytes: &mut [u8]) -> InPlace {
        let mut out = InPlace::default();
        let found: Vec<_> = self.find(bytes).collect();
        for occurrence in found {
            let (old, new) = self.pairs[occurrence.pair];
            if occurrence.form == Form::Binary {
                let start = occurrence.offset + 2;
                bytes[start..start + 22].copy_from_slice(&new.pattern());
                out.done.add(occurrence.form);
                continue;
            }
            let (before, after) = (text(old, occurrence.form), text(new, occurrence.form));
            if before.len() == after.len() {
                // The first character stays as it is, upper or lower case.
                bytes[occurrence.offset + 1..occurrence.offset + after.len()].copy_from_slice(&after[1..]);
                out.done.add(occurrence.form);
            } else {
                out.left.add(occurrence.form);
            }
        }
        out
    }

    /// Replaces text in both encodings; the length may change. `None` when there is nothing to replace.
    pub fn rewrite_text(&self, bytes: &[u8]) -> Option<TextEdit> {
        let mut edit = TextEdit { bytes: Vec::new(), hits: Hits::default() };
        let mut copied = 0;
        for occurrence in self.find(bytes).filter(|o| o.form != Form::Binary) {
            let (old, new) = self.pairs[occurrence.pair];
            let (before, after) = (text(old, occurrence.form), text(new, occurrence.form));
            edit.bytes.extend_from_slice(&bytes[copied..=occurrence.offset]);
            edit.bytes.extend_from_slice(&after[1..]);
            copied = occurrence.offset + before.len();
            edit.hits.add(occurrence.form);
        }
        if edit.hits.total() == 0 {
            return None;
        }
        edit.bytes.extend_from_slice(&bytes[copied..]);
        Some(edit)
    }

    /// Replaces text in UTF-16 code units, such as a file or key name; the length may change. `None` when nothing matches.
    pub fn rewrite_units(&self, units: &[u16]) -> Option<Vec<u16>> {
        let bytes: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
        // A match at an odd offset would be a chance of two characters' halves.
        if !self.find(&bytes).any(|o| o.form == Form::Utf16 && o.offset % 2 == 0) {
            return None;
        }
        self.rewrite_text(&bytes).map(|edit| reseal_dtyp::from_utf16le(&edit.bytes))
    }
}

impl std::fmt::Debug for SidMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.pairs.iter().copied()).finish()
    }
}

/// What [`SidMap::rewrite_in_place`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InPlace {
    /// Replaced.
    pub done: Hits,
    /// Found, but the new text has another length.
    pub left: Hits,
}

/// What [`SidMap::rewrite_text`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextEdit {
    /// The whole new text.
    pub bytes: Vec<u8>,
    /// How many SIDs were replaced.
    pub hits: Hits,
}

fn patterns(sid: DomainSid) -> [Vec<u8>; 5] {
    let lower = |mut bytes: Vec<u8>| {
        bytes[0] = b's';
        bytes
    };
    let (ascii, utf16) = (text(sid, Form::Ascii), text(sid, Form::Utf16));
    [sid.pattern().to_vec(), ascii.clone(), lower(ascii), utf16.clone(), lower(utf16)]
}

fn text(sid: DomainSid, form: Form) -> Vec<u8> {
    match form {
        Form::Utf16 => utf16le(&sid.to_string()),
        _ => sid.to_string().into_bytes(),
    }
}

/// Whether a decimal digit follows at `offset`, in units of `width` bytes.
fn digit_at(bytes: &[u8], offset: usize, width: usize) -> bool {
    match bytes.get(offset..offset + width) {
        Some([d]) => d.is_ascii_digit(),
        Some([d, 0]) => d.is_ascii_digit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);
    const NEW: DomainSid = DomainSid([7, 1_177_238_915, 4_000_000_000]);

    fn map() -> SidMap {
        SidMap::new([(OLD, NEW)]).unwrap()
    }

    #[test]
    fn refuses_duplicates_and_chains() {
        let third = DomainSid([1, 2, 3]);
        for bad in [
            vec![(OLD, NEW), (OLD, third)],
            vec![(OLD, NEW), (third, NEW)],
            vec![(OLD, NEW), (NEW, third)],
            vec![(OLD, OLD)],
        ] {
            assert_eq!(SidMap::new(bad).unwrap_err().kind(), Kind::Conflict);
        }
    }

    #[test]
    fn binary_with_and_without_rid_but_not_foreign() {
        let foreign = DomainSid([1_004_336_348, 1_177_238_915, 682_003_331]);
        let mut bytes =
            [vec![9], OLD.sid().to_bytes(), OLD.account(500).to_bytes(), foreign.account(500).to_bytes()].concat();
        assert_eq!(map().rewrite_binary(&mut bytes), 2);
        let expected =
            [vec![9], NEW.sid().to_bytes(), NEW.account(500).to_bytes(), foreign.account(500).to_bytes()].concat();
        assert_eq!(bytes, expected);
        assert_eq!(map().reversed().rewrite_binary(&mut bytes), 2);
    }

    #[test]
    fn text_of_other_length_and_longer_numbers() {
        let input = format!("{OLD}-1001;{OLD}0;s{};", &OLD.to_string()[1..]);
        let edit = map().rewrite_text(input.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(edit.bytes).unwrap(), format!("{NEW}-1001;{OLD}0;s{};", &NEW.to_string()[1..]));
        assert_eq!(edit.hits, Hits { binary: 0, ascii: 2, utf16: 0 });
        let units: Vec<u16> = input.encode_utf16().collect();
        let out = map().rewrite_units(&units).unwrap();
        assert_eq!(String::from_utf16(&out).unwrap(), format!("{NEW}-1001;{OLD}0;s{};", &NEW.to_string()[1..]));
        assert_eq!(map().rewrite_units(&"S-1-5-21-1-2-3".encode_utf16().collect::<Vec<_>>()), None);
    }

    #[test]
    fn in_place_leaves_what_does_not_fit() {
        let mut bytes = [OLD.to_string().into_bytes(), vec![0], OLD.sid().to_bytes()].concat();
        let before = bytes.clone();
        let result = map().rewrite_in_place(&mut bytes);
        assert_eq!((result.done.binary, result.left.ascii), (1, 1));
        assert_eq!(bytes[..before.len() - 24], before[..before.len() - 24]);
    }
}
