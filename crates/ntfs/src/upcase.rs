//! `$UpCase` and the order of names that follows from it.

use reseal_dtyp::{Error, Result};
use std::cmp::Ordering;

/// The volume's own table of capital letters: one entry per UTF-16 code unit.
#[derive(Clone)]
pub(crate) struct UpCase(Box<[u16]>);

/// Length of the table in bytes.
pub(crate) const TABLE_BYTES: usize = 65536 * 2;

impl UpCase {
    /// From the data of `$UpCase`: exactly 128 KiB.
    pub(crate) fn new(bytes: &[u8]) -> Result<UpCase> {
        if bytes.len() != TABLE_BYTES {
            let detail = format!("{} bytes, a table has {TABLE_BYTES}", bytes.len());
            return Err(Error::damaged("$UpCase", "", 0, detail));
        }
        Ok(UpCase(reseal_dtyp::from_utf16le(bytes).into_boxed_slice()))
    }

    /// The capital of a code unit.
    pub(crate) fn upper(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// Order without regard to case; a prefix comes first.
    pub(crate) fn compare_ignoring_case(&self, a: impl Iterator<Item = u16>, b: impl Iterator<Item = u16>) -> Ordering {
        a.map(|u| self.upper(u)).cmp(b.map(|u| self.upper(u)))
    }

    /// Order of names in a directory (COLLATION_FILE_NAME): capitals first, then length, then the code units as they are.
    pub(crate) fn compare(
        &self,
        a: impl Iterator<Item = u16> + Clone,
        b: impl Iterator<Item = u16> + Clone,
    ) -> Ordering {
        self.compare_ignoring_case(a.clone(), b.clone()).then_with(|| a.cmp(b))
    }
}

impl std::fmt::Debug for UpCase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpCase")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii() -> UpCase {
        let table = (0..=u16::MAX).map(|u| if (97..=122).contains(&u) { u - 32 } else { u });
        UpCase::new(&table.flat_map(u16::to_le_bytes).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn order() {
        let table = ascii();
        let wide = |t: &str| t.encode_utf16().collect::<Vec<_>>();
        let mut names: Vec<_> = ["b", "A", "ab", "a", "_", "Ab", "\u{ffff}", "B"].map(wide).into();
        names.sort_by(|x, y| table.compare(x.iter().copied(), y.iter().copied()));
        let text: Vec<_> = names.iter().map(|n| String::from_utf16_lossy(n)).collect();
        assert_eq!(text, ["A", "a", "Ab", "ab", "B", "b", "_", "\u{ffff}"]);
    }

    #[test]
    fn refuses_another_size() {
        assert!(UpCase::new(&[0; 1000]).is_err());
    }
}
