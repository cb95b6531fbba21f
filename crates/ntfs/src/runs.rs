//! Data runs: where the clusters of a non-resident attribute lie (mapping pairs on the medium).

use reseal_dtyp::{Error, Result};

/// A stretch of a stream: `len` clusters from virtual cluster `vcn` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First virtual cluster.
    pub vcn: u64,
    /// First logical cluster; `None` for a hole, which reads as zero.
    pub lcn: Option<u64>,
    /// Length in clusters, never zero.
    pub len: u64,
}

impl Run {
    /// First virtual cluster behind the run.
    pub fn end(&self) -> u64 {
        self.vcn + self.len
    }
}

/// Streams end before 2^63 bytes, so with clusters of at least 512 bytes before this cluster.
const MAX_VCN: u64 = 1 << 54;

/// Decodes mapping pairs one by one, without allocating. Every run is checked: it lies on the volume, its length is not zero.
#[derive(Debug, Clone)]
pub(crate) struct RunDecoder<'a> {
    pairs: &'a [u8],
    position: usize,
    vcn: u64,
    lcn: i64,
    clusters: u64,
    /// Byte offset of the pairs, for errors.
    at: u64,
    failed: bool,
}

impl<'a> RunDecoder<'a> {
    pub(crate) fn new(pairs: &'a [u8], first_vcn: u64, clusters: u64, at: u64) -> RunDecoder<'a> {
        RunDecoder { pairs, position: 0, vcn: first_vcn, lcn: 0, clusters, at, failed: false }
    }

    fn bad(&mut self, detail: String) -> Option<Result<Run>> {
        self.failed = true;
        Some(Err(Error::damaged("run list", "", self.at + self.position as u64, detail)))
    }
}

fn little_endian(bytes: &[u8], signed: bool) -> i64 {
    let fill = if signed && bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

impl Iterator for RunDecoder<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Result<Run>> {
        if self.failed {
            return None;
        }
        let header = match self.pairs.get(self.position) {
            Some(0) => return None,
            Some(&h) => h,
            None => return self.bad("the run list has no end".into()),
        };
        let (len_size, lcn_size) = (usize::from(header & 15), usize::from(header >> 4));
        let start = self.position + 1;
        let end = start + len_size + lcn_size;
        if len_size == 0 || len_size > 8 || lcn_size > 8 || end > self.pairs.len() {
            return self.bad(format!("header {header:#04x}, {} bytes left", self.pairs.len() - self.position));
        }
        let len = little_endian(&self.pairs[start..start + len_size], true);
        if len <= 0 || self.vcn.checked_add(len as u64).is_none_or(|e| e > MAX_VCN) {
            return self.bad(format!("length {len} at virtual cluster {}", self.vcn));
        }
        let mut run = Run { vcn: self.vcn, lcn: None, len: len as u64 };
        if lcn_size > 0 {
            let delta = little_endian(&self.pairs[start + len_size..end], true);
            let lcn =
                self.lcn.checked_add(delta).filter(|&l| l >= 0 && (l as u64).saturating_add(run.len) <= self.clusters);
            let Some(lcn) = lcn else {
                return self.bad(format!(
                    "{len} clusters from {} by {delta:+} leave the volume of {}",
                    self.lcn, self.clusters
                ));
            };
            self.lcn = lcn;
            run.lcn = Some(lcn as u64);
        }
        self.vcn += run.len;
        self.position = end;
        Some(Ok(run))
    }
}

fn push_minimal(out: &mut Vec<u8>, value: i64) -> u8 {
    let bytes = value.to_le_bytes();
    let mut size = 8;
    // A byte may go as long as the sign bit of the one below says the same.
    while size > 1 && little_endian(&bytes[..size - 1], true) == value {
        size -= 1;
    }
    out.extend_from_slice(&bytes[..size]);
    size as u8
}

/// Encodes runs with the fewest bytes, terminator included; neighbours that touch are merged.
pub(crate) fn encode(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = 0i64;
    for run in merged(runs) {
        let header = out.len();
        out.push(0);
        let len_size = push_minimal(&mut out, run.len as i64);
        let lcn_size = run.lcn.map_or(0, |lcn| {
            let delta = lcn as i64 - last;
            last = lcn as i64;
            push_minimal(&mut out, delta)
        });
        out[header] = lcn_size << 4 | len_size;
    }
    out.push(0);
    out
}

/// The same runs with touching neighbours made one.
pub(crate) fn merged(runs: &[Run]) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        match out.last_mut() {
            Some(last) if last.end() == run.vcn && last.lcn.map(|l| l + last.len) == run.lcn && run.lcn.is_some() => {
                last.len += run.len;
            }
            Some(last) if last.end() == run.vcn && last.lcn.is_none() && run.lcn.is_none() => last.len += run.len,
            _ => out.push(*run),
        }
    }
    out
}

/// Cuts runs behind `clusters` clusters: what stays and what goes.
pub(crate) fn cut(runs: &[Run], clusters: u64) -> (Vec<Run>, Vec<Run>) {
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for run in runs {
        let stay = clusters.saturating_sub(run.vcn).min(run.len);
        if stay > 0 {
            kept.push(Run { len: stay, ..*run });
        }
        if stay < run.len {
            gone.push(Run { vcn: run.vcn + stay, lcn: run.lcn.map(|l| l + stay), len: run.len - stay });
        }
    }
    (kept, gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pairs: &[u8]) -> Result<Vec<Run>> {
        RunDecoder::new(pairs, 0, 1 << 40, 0).collect()
    }

    #[test]
    fn known_bytes() {
        let runs = decode(&[0x21, 0x18, 0x34, 0x56, 0x01, 0x10, 0x11, 0x20, 0xf0, 0x00]).unwrap();
        let expected = [(0, Some(0x5634), 0x18), (0x18, None, 0x10), (0x28, Some(0x5624), 0x20)];
        let runs: Vec<_> = runs.into_iter().map(|r| (r.vcn, r.lcn, r.len)).collect();
        assert_eq!(runs, expected);
    }

    #[test]
    fn a_length_of_0x80_takes_two_bytes() {
        let runs = [Run { vcn: 0, lcn: Some(0x80), len: 0x80 }];
        assert_eq!(encode(&runs), [0x22, 0x80, 0, 0x80, 0, 0]);
        assert_eq!(decode(&encode(&runs)).unwrap(), runs);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for bad in [
            &[0x11, 0, 5, 0][..],
            &[0x10, 1, 0],
            &[0x11, 1],
            &[0x11, 1, 0xff, 0],
            &[0x91, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            &[],
        ] {
            assert!(decode(bad).is_err(), "{bad:x?}");
        }
        assert!(RunDecoder::new(&[0x11, 2, 9, 0], 0, 10, 0).next().unwrap().is_err());
    }

    proptest::proptest! {
        #[test]
        fn round_trip(lens in proptest::collection::vec((1u64..1 << 33, proptest::option::of(0u64..1 << 39)), 0..40)) {
            let mut vcn = 0;
            let runs: Vec<Run> = lens.iter().map(|&(len, lcn)| {
                let run = Run { vcn, lcn, len };
                vcn += len;
                run
            }).collect();
            proptest::prop_assert_eq!(decode(&encode(&runs)).unwrap(), merged(&runs));
        }
    }
}
