//! What is looked for, in every form that Windows and its programs write: the one list of forms.

use super::finder::{BLOCK, Bytes, Finder};
use crate::error::{Error, Kind, Result};
use reseal_dtyp::{Guid, Sid, utf16le};

/// Encoded forms shorter than this say nothing: chance makes them.
const SHORTEST_ENCODED: usize = 8;

/// The forms in which `verify` looks for a needle, for people: name and meaning.
pub const TRACE_FORMS: &[(&str, &str)] = &[
    ("ascii", "the text, one byte a character; letters match in either case"),
    ("utf16", "the text in UTF-16, little endian; letters match in either case"),
    ("utf16be", "the text in UTF-16, big endian; letters match in either case"),
    ("base64", "base64 of either text as it was given, at all three alignments, in ASCII and UTF-16"),
    (
        "hex",
        "hexadecimal digits of either text as it was given, in either case, without separators, in ASCII and UTF-16",
    ),
    ("binary", "a SID: its bytes from the authority on, alone or with a RID; a GUID: its 16 bytes"),
    ("binary-base64", "base64 of the binary form, at all three alignments"),
    ("binary-hex", "hexadecimal digits of the binary form"),
];

/// One pattern of one needle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    /// Which needle.
    pub(super) of: usize,
    pub(super) form: &'static str,
    pub(super) len: usize,
    /// Text of a SID: a digit behind it would make it another one. Bytes per character; 0 for none of this.
    digits: usize,
}

/// Everything that is looked for, in every form.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) names: Vec<String>,
    finder: Finder,
    patterns: Vec<Pattern>,
}

/// Patterns being gathered.
#[derive(Default)]
struct Forms {
    bytes: Vec<Bytes>,
    patterns: Vec<Pattern>,
}

impl Forms {
    fn add(&mut self, of: usize, form: &'static str, bytes: Vec<u8>, folds: bool, digits: usize) {
        if bytes.len() >= BLOCK {
            self.patterns.push(Pattern { of, form, len: bytes.len(), digits });
            self.bytes.push(Bytes { bytes, folds });
        }
    }

    fn encoded(&mut self, of: usize, [base64, hex]: [&'static str; 2], bytes: &[u8]) {
        for skip in 0..3 {
            let text = base64_core(bytes, skip);
            if text.len() >= SHORTEST_ENCODED {
                self.add(of, base64, text.iter().flat_map(|&c| [c, 0]).collect(), false, 0);
                self.add(of, base64, text, false, 0);
            }
        }
        let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        if digits.len() >= SHORTEST_ENCODED {
            self.add(of, hex, digits.clone().into_bytes(), true, 0);
            self.add(of, hex, utf16le(&digits), true, 0);
        }
    }

    /// All forms of one needle.
    fn needle(&mut self, of: usize, needle: &str) {
        let sid: Option<Sid> = needle.parse().ok();
        let is_sid = usize::from(sid.is_some());
        let (wide, wide_be) = (utf16le(needle), needle.encode_utf16().flat_map(u16::to_be_bytes).collect());
        self.add(of, "ascii", needle.as_bytes().to_vec(), true, is_sid);
        self.add(of, "utf16", wide.clone(), true, 2 * is_sid);
        self.add(of, "utf16be", wide_be, true, 0);
        self.encoded(of, ["base64", "hex"], needle.as_bytes());
        self.encoded(of, ["base64", "hex"], &wide);
        // From the authority on: the sub-authority count differs between a machine and its accounts.
        let of_sid = sid.map(|sid| sid.to_bytes()[2..].to_vec());
        let of_guid = || Guid::parse(needle.trim_matches(['{', '}'])).map(|guid| guid.0.to_vec());
        if let Some(binary) = of_sid.or_else(of_guid) {
            self.encoded(of, ["binary-base64", "binary-hex"], &binary);
            self.add(of, "binary", binary, false, 0);
        }
    }
}

impl Search {
    /// `Usage` for a needle of fewer than four bytes: it stands in every image.
    pub(super) fn new(needles: &[String]) -> Result<Search> {
        let mut forms = Forms::default();
        for (of, needle) in needles.iter().enumerate() {
            if needle.len() < BLOCK {
                let detail =
                    format!("--no-trace-of `{needle}`: a text or a SID of at least {BLOCK} characters is needed");
                return Err(Error::new(Kind::Usage, detail).hint("shorter ones stand in every image by chance"));
            }
            forms.needle(of, needle);
        }
        Ok(Search { names: needles.to_vec(), finder: Finder::new(forms.bytes), patterns: forms.patterns })
    }

    /// The longest pattern in bytes, plus the character that may follow it.
    pub(super) fn reach(&self) -> usize {
        self.finder.longest() + 2
    }

    /// Calls `hit` with offset and pattern of everything found.
    pub(super) fn find(&self, bytes: &[u8], mut hit: impl FnMut(usize, &Pattern)) {
        self.finder.find(bytes, |at, index| {
            let pattern = &self.patterns[index];
            let end = at + pattern.len;
            // With a zero behind it, big endian is little endian from the second byte on, and was found as such.
            if pattern.form == "utf16be" && bytes.get(end) == Some(&0) {
                return;
            }
            let next = match pattern.digits {
                0 => None,
                1 => bytes.get(end).copied(),
                _ => bytes.get(end).zip(bytes.get(end + 1)).filter(|(_, high)| **high == 0).map(|(low, _)| *low),
            };
            if !next.is_some_and(|next| next.is_ascii_digit()) {
                hit(at, pattern);
            }
        });
    }
}

/// The characters of base64 that say nothing but `bytes`, when `skip` bytes stand before them in their group of three.
fn base64_core(bytes: &[u8], skip: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |index: usize| {
        let byte = (index / 8).checked_sub(skip).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        byte >> (7 - index % 8) & 1
    };
    // A character of six bits counts when all of them belong to the bytes.
    let (first, end) = ((skip * 8).div_ceil(6), (skip + bytes.len()) * 8 / 6);
    (first..end).map(|c| ALPHABET[(0..6).fold(0, |value, i| value << 1 | usize::from(bit(c * 6 + i)))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(needle: &str, bytes: &[u8]) -> Vec<&'static str> {
        let mut out = Vec::new();
        Search::new(&[needle.to_owned()]).unwrap().find(bytes, |_, pattern| out.push(pattern.form));
        out
    }

    #[test]
    fn base64_at_each_alignment() {
        // RFC 4648, section 10: "foobar" is Zm9vYmFy.
        assert_eq!(base64_core(b"foobar", 0), b"Zm9vYmFy");
        // "xfoobar" is eGZvb2Jhcg==, "xyfoobar" is eHlmb29iYXI=: what the neighbours share is left out.
        assert_eq!(base64_core(b"foobar", 1), b"Zvb2Jhc");
        assert_eq!(base64_core(b"foobar", 2), b"mb29iYX");
        for (skip, text) in
            ["d2hhdGV2ZXIgR09MRC0wNw==", "d2hhdGV2ZXIhIEdPTEQtMDc=", "d2hhdGV2ZXIhISBHT0xELTA3"].iter().enumerate()
        {
            assert_eq!(forms("GOLD-07", text.as_bytes()), ["base64"], "{skip}");
        }
    }

    #[test]
    fn every_form_of_a_sid() {
        let sid = "S-1-5-21-1004336348-1177238915-682003330";
        let parsed: Sid = sid.parse().unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
        assert_eq!(forms(sid, sid.to_lowercase().as_bytes()), ["ascii"]);
        assert_eq!(forms(sid, &utf16le(sid)), ["utf16"]);
        assert_eq!(forms(sid, format!("{sid}-1001").as_bytes()), ["ascii"]);
        assert_eq!(forms(sid, format!("{sid}7").as_bytes()), [""; 0], "a longer number is another SID");
        assert_eq!(forms(sid, &utf16le(&format!("{sid}7"))), [""; 0]);
        assert_eq!(forms(sid, &parsed.to_bytes()), ["binary"]);
        assert_eq!(forms(sid, hex(&parsed.to_bytes()).as_bytes()), ["binary-hex"]);
        assert_eq!(forms(sid, hex(sid.as_bytes()).to_lowercase().as_bytes()), ["hex"]);
        let wide: Vec<u8> = sid.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(forms(sid, &wide), ["utf16be"]);
        // What stands behind it makes it little endian as well; it counts once.
        assert_eq!(forms(sid, &[wide, vec![0, b';']].concat()), ["utf16"]);
    }

    #[test]
    fn a_guid_has_sixteen_bytes() {
        let guid = "b1d4a0de-1111-2222-3333-444455556666";
        let bytes = [0xde, 0xa0, 0xd4, 0xb1, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x66, 0x66];
        assert_eq!(forms(guid, &bytes), ["binary"]);
        assert_eq!(forms(&format!("{{{guid}}}"), &bytes), ["binary"]);
    }

    #[test]
    fn short_needles_are_refused() {
        assert_eq!(Search::new(&["abc".to_owned()]).unwrap_err().kind(), Kind::Usage);
    }
}
