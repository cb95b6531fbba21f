//! One computer name in place of another, where it stands as a word.

use reseal_dtyp::from_utf16le;

/// Start of a `TrackerDataBlock` ([MS-SHLLINK] 2.5.10): size of the block, signature, length and version of what follows. Behind
/// it stands the machine's NetBIOS name.
const TRACKER: [u8; 16] = [0x60, 0, 0, 0, 3, 0, 0, 0xa0, 0x58, 0, 0, 0, 0, 0, 0, 0];
/// Bytes for the name, the NUL behind it included ([MS-SHLLINK] 2.5.10, `MachineID`).
const MACHINE_ID: usize = 16;

/// Names of this machine, and the one that it gets.
#[derive(Debug)]
pub(super) struct Names {
    /// In small letters.
    old: Vec<Vec<u16>>,
    new: String,
}

impl Names {
    /// `None` when it has the new name already.
    pub(super) fn new(old: &[String], new: &str) -> Option<Names> {
        let mut old: Vec<String> = old.iter().map(|name| name.to_lowercase()).collect();
        old.retain(|name| !name.is_empty() && *name != new.to_lowercase());
        // The longest first: one name may be the beginning of another.
        old.sort_by_key(|name| (std::cmp::Reverse(name.len()), name.clone()));
        old.dedup();
        let old: Vec<Vec<u16>> = old.iter().map(|name| name.encode_utf16().collect()).collect();
        (!old.is_empty()).then(|| Names { old, new: new.to_owned() })
    }

    /// The first name that is an ordinary word: as such it may stand anywhere and mean something else.
    pub(super) fn ordinary(&self) -> Option<String> {
        let marked = |unit: &u16| *unit == u16::from(b'-') || u8::try_from(*unit).is_ok_and(|b| b.is_ascii_digit());
        let ordinary = self.old.iter().find(|name| name.len() < 4 || !name.iter().any(marked));
        ordinary.map(|name| reseal_dtyp::utf16_lossy(name))
    }

    /// The text with the new name; `None` when no old one is in it.
    pub(super) fn in_text(&self, text: &[u16]) -> Option<Vec<u16>> {
        let (mut out, mut at, mut any) = (Vec::with_capacity(text.len()), 0, false);
        while let Some(&unit) = text.get(at) {
            match self.word_at(text, at) {
                Some(len) => {
                    out.extend(self.in_case_of(&text[at..at + len]).encode_utf16());
                    (at, any) = (at + len, true);
                }
                None => {
                    out.push(unit);
                    at += 1;
                }
            }
        }
        any.then_some(out)
    }

    /// How long an old name is that stands at `at` as a word.
    fn word_at(&self, text: &[u16], at: usize) -> Option<usize> {
        if at > 0 && is_of_word(text[at - 1]) {
            return None;
        }
        let here = |name: &&Vec<u16>| {
            text.get(at..at + name.len()).is_some_and(|have| have.iter().map(|u| small(*u)).eq(name.iter().copied()))
                && !text.get(at + name.len()).is_some_and(|next| is_of_word(*next))
        };
        self.old.iter().find(here).map(Vec::len)
    }

    /// NetBIOS names are written in capital letters, DNS names often in small ones.
    fn in_case_of(&self, old: &[u16]) -> String {
        let letters: Vec<char> = reseal_dtyp::utf16_lossy(old).chars().filter(|c| c.is_alphabetic()).collect();
        if letters.iter().all(|c| c.is_uppercase()) {
            self.new.to_uppercase()
        } else if letters.iter().all(|c| c.is_lowercase()) {
            self.new.to_lowercase()
        } else {
            self.new.clone()
        }
    }

    /// UTF-16LE with the new name; `None` when no old one is in it, or it is of odd length.
    pub(super) fn in_utf16(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let even = bytes.len().is_multiple_of(2);
        let new = even.then(|| self.in_text(&from_utf16le(bytes))).flatten()?;
        Some(new.into_iter().flat_map(u16::to_le_bytes).collect())
    }

    /// UTF-16LE with its mark, or UTF-8; `None` when no old name is in it.
    pub(super) fn in_file(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if let Some(text) = bytes.strip_prefix(&[0xff, 0xfe]) {
            return Some([&[0xff, 0xfe], &self.in_utf16(text)?[..]].concat());
        }
        let units: Vec<u16> = std::str::from_utf8(bytes).ok()?.encode_utf16().collect();
        String::from_utf16(&self.in_text(&units)?).ok().map(String::into_bytes)
    }

    /// Data that may hold shell links, with the new name in what tracks their targets; `None` when no old name is there.
    pub(super) fn in_links(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = bytes.to_vec();
        let mut any = false;
        for at in memchr::memmem::find_iter(bytes, &TRACKER) {
            let Some(field) = out.get_mut(at + TRACKER.len()..at + TRACKER.len() + MACHINE_ID) else { continue };
            let len = field.iter().position(|b| *b == 0).unwrap_or(MACHINE_ID);
            let old: Vec<u16> = field[..len].iter().map(|b| u16::from(*b)).collect();
            let new = self.old.iter().any(|name| old.iter().map(|u| small(*u)).eq(name.iter().copied()));
            let new = new.then(|| self.in_case_of(&old)).filter(|new| new.is_ascii() && new.len() < MACHINE_ID);
            if let Some(new) = new {
                field.fill(0);
                field[..new.len()].copy_from_slice(new.as_bytes());
                any = true;
            }
        }
        any.then_some(out)
    }

    /// Whether an old name stands there in UTF-16 or ASCII, as a word or not.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        self.old.iter().any(|name| {
            let wide: Vec<u8> = name.iter().flat_map(|u| u.to_le_bytes()).collect();
            let narrow: Option<Vec<u8>> = name.iter().map(|u| u8::try_from(*u).ok()).collect();
            stands_in(bytes, &wide) || narrow.is_some_and(|narrow| stands_in(bytes, &narrow))
        })
    }
}

/// Whether bytes are there, without regard to the case of ASCII letters.
fn stands_in(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(&first) = wanted.first() else { return false };
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), bytes)
        .any(|at| bytes.get(at..at + wanted.len()).is_some_and(|have| have.eq_ignore_ascii_case(wanted)))
}

/// A unit in small letters.
fn small(unit: u16) -> u16 {
    let lower = char::from_u32(u32::from(unit)).and_then(|c| {
        let mut lower = c.to_lowercase();
        lower.next().filter(|_| lower.next().is_none())
    });
    lower.and_then(|c| u16::try_from(u32::from(c)).ok()).unwrap_or(unit)
}

/// Whether a unit continues a name: letters, digits, hyphen, underscore.
fn is_of_word(unit: u16) -> bool {
    char::from_u32(u32::from(unit)).is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::{utf16_lossy, utf16le};

    fn names() -> Names {
        Names::new(&["GOLD-07".into(), "gold-07".into(), "gold-07-long".into()], "web-1").unwrap()
    }

    #[test]
    fn words_only_and_in_their_case() {
        let cases = [
            ("GOLD-07", Some("WEB-1")),
            (r"GOLD-07\ann", Some(r"WEB-1\ann")),
            ("GOLD-07$@corp.example", Some("WEB-1$@corp.example")),
            ("https://gold-07.corp.example/printers", Some("https://web-1.corp.example/printers")),
            ("CN=Gold-07,OU=Lab", Some("CN=web-1,OU=Lab")),
            ("gold-07-long and GOLD-07 8262", Some("web-1 and WEB-1 8262")),
            ("GOLD-071", None),
            ("MYGOLD-07", None),
            ("GOLD-07-2", None),
            ("", None),
        ];
        for (old, new) in cases {
            let units: Vec<u16> = old.encode_utf16().collect();
            assert_eq!(names().in_text(&units).map(|units| utf16_lossy(&units)).as_deref(), new, "{old}");
            assert_eq!(names().in_file(old.as_bytes()), new.map(|new| new.as_bytes().to_vec()), "{old}");
            let marked = |text: &str| [vec![0xff, 0xfe], utf16le(text)].concat();
            assert_eq!(names().in_file(&marked(old)), new.map(marked), "{old}");
        }
    }

    #[test]
    fn a_name_that_stays_and_ordinary_words() {
        assert!(Names::new(&["Web-1".into(), String::new()], "WEB-1").is_none());
        for (name, ordinary) in [("WINDOWS", true), ("PC", true), ("PC1", true), ("PC-1", false), ("GOLD7", false)] {
            assert_eq!(Names::new(&[name.into()], "x").unwrap().ordinary().is_some(), ordinary, "{name}");
        }
    }

    #[test]
    fn shell_links() {
        let block = |name: &str| {
            let mut out = [b"before".as_slice(), &TRACKER, name.as_bytes()].concat();
            out.resize(6 + 32, 0);
            [&out[..], b"droids of GOLD-07"].concat()
        };
        assert_eq!(names().in_links(&block("gold-07")), Some(block("web-1")));
        assert_eq!(names().in_links(&block("gold-08")), None);
        assert_eq!(names().in_links(&block("gold-07")[..30]), None);
        assert!(names().is_in(b"x Gold-07y"));
        assert!(names().is_in(&utf16le("Gold-07")));
        assert!(!names().is_in(b"gold-0"));
    }
}
