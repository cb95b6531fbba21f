//! `Registry.pol` and `ntuser.pol` ([MS-GPREG] 2.2.1): what group policy writes into the registry.

use reseal_dtyp::{Error, Result, View};
use reseal_sid::SidMap;

/// `PReg`, then version 1.
const HEADER: [u8; 8] = *b"PReg\x01\0\0\0";
const OPEN: u16 = b'[' as u16;
const CLOSE: u16 = b']' as u16;
const NEXT: u16 = b';' as u16;
/// REG_SZ, REG_EXPAND_SZ, REG_MULTI_SZ.
const TEXT_TYPES: [u32; 3] = [1, 2, 7];

/// A file with new SIDs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) bytes: Vec<u8>,
    /// SIDs replaced.
    pub(crate) sids: usize,
    /// Text in binary data that the new SID does not fit.
    pub(crate) left: usize,
}

/// Replaces SIDs in keys, value names and data; a record's size follows its data. `None` when there is none. `Damaged` when the
/// file is not one record after the other up to its end.
pub(crate) fn rewrite(bytes: &[u8], map: &SidMap) -> Result<Option<Rewritten>> {
    let mut out = Rewritten { bytes: Vec::with_capacity(bytes.len()), sids: 0, left: 0 };
    let mut reader = Reader { view: View::new("Registry.pol", 0, bytes), at: HEADER.len() };
    if bytes.get(..HEADER.len()) != Some(&HEADER) {
        return Err(reader.view.damaged(0, "signature", "not PReg of version 1"));
    }
    out.bytes.extend_from_slice(&HEADER);
    while reader.at < bytes.len() {
        reader.record(map, &mut out)?;
    }
    Ok((out.sids + out.left > 0).then_some(out))
}

struct Reader<'b> {
    view: View<'b>,
    at: usize,
}

impl<'b> Reader<'b> {
    /// `[key;value;type;size;data]`, with units of UTF-16 between the fields.
    fn record(&mut self, map: &SidMap, out: &mut Rewritten) -> Result<()> {
        self.mark(OPEN, "record", out)?;
        for field in ["key", "value"] {
            let text = self.text(field)?;
            replace_text(text, map, out);
            self.mark(NEXT, field, out)?;
        }
        let ty = self.view.u32(self.at, "type")?;
        out.bytes.extend_from_slice(&ty.to_le_bytes());
        self.at += 4;
        self.mark(NEXT, "type", out)?;
        let len = self.view.u32(self.at, "size")? as usize;
        let data = self.view.bytes(self.at + 6, len, "data")?;
        let size_at = out.bytes.len();
        out.bytes.extend_from_slice(&[0; 4]);
        self.at += 4;
        self.mark(NEXT, "size", out)?;
        self.at += len;
        let start = out.bytes.len();
        if TEXT_TYPES.contains(&ty) {
            replace_text(data, map, out);
        } else {
            out.bytes.extend_from_slice(data);
            let done = map.rewrite_in_place(&mut out.bytes[start..]);
            out.sids += done.done.total();
            out.left += done.left.total();
        }
        let len = u32::try_from(out.bytes.len() - start);
        let len = len.map_err(|_| self.too_long())?;
        out.bytes[size_at..size_at + 4].copy_from_slice(&len.to_le_bytes());
        self.mark(CLOSE, "end", out)
    }

    fn too_long(&self) -> Error {
        self.view.damaged(self.at, "data", "above 4 GiB")
    }

    /// One unit that separates.
    fn mark(&mut self, unit: u16, field: &'static str, out: &mut Rewritten) -> Result<()> {
        let found = self.view.u16(self.at, field)?;
        if found != unit {
            let detail = format!("{found:#06x} where {unit:#06x} separates");
            return Err(self.view.damaged(self.at, field, detail));
        }
        out.bytes.extend_from_slice(&unit.to_le_bytes());
        self.at += 2;
        Ok(())
    }

    /// Text with its NUL.
    fn text(&mut self, field: &'static str) -> Result<&'b [u8]> {
        let rest = self.view.bytes(self.at, self.view.len().saturating_sub(self.at), field)?;
        let units = rest.chunks_exact(2).position(|unit| unit == [0, 0]);
        let units = units.ok_or_else(|| self.view.damaged(self.at, field, "it has no end"))?;
        let text = &rest[..2 * (units + 1)];
        self.at += text.len();
        Ok(text)
    }
}

fn replace_text(text: &[u8], map: &SidMap, out: &mut Rewritten) {
    match map.rewrite_text(text) {
        None => out.bytes.extend_from_slice(text),
        Some(edit) => {
            out.sids += edit.hits.total();
            out.bytes.extend_from_slice(&edit.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::{DomainSid, utf16le};

    const OLD: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);
    const SHORT: DomainSid = DomainSid([7, 8, 9]);
    const ALIKE: DomainSid = DomainSid([2_004_336_348, 2_177_238_915, 782_003_330]);

    fn record(key: &str, value: &str, ty: u32, data: &[u8]) -> Vec<u8> {
        let unit = |c: char| (c as u16).to_le_bytes().to_vec();
        let name = |text: &str| [utf16le(text), vec![0, 0]].concat();
        [
            unit('['),
            name(key),
            unit(';'),
            name(value),
            unit(';'),
            ty.to_le_bytes().to_vec(),
            unit(';'),
            (data.len() as u32).to_le_bytes().to_vec(),
            unit(';'),
            data.to_vec(),
            unit(']'),
        ]
        .concat()
    }

    /// The same file for any machine.
    fn file(sid: DomainSid) -> Vec<u8> {
        let text = [utf16le(&format!("D:(A;;KA;;;{sid}-1001)")), vec![0, 0]].concat();
        [
            HEADER.to_vec(),
            record(&format!(r"Software\{sid}\x"), "plain", 4, &[1, 0, 0, 0]),
            record(r"Software\Policies", &format!("{sid}-1001"), 1, &text),
            record(r"Software\Policies", "binary; with [marks", 3, &sid.account(1001).to_bytes()),
            record("", "", 0, &[]),
        ]
        .concat()
    }

    #[test]
    fn any_length_of_text_and_back() {
        for new in [SHORT, ALIKE] {
            let map = SidMap::new([(OLD, new)]).unwrap();
            let done = rewrite(&file(OLD), &map).unwrap().unwrap();
            assert_eq!(done.bytes, file(new));
            assert_eq!((done.sids, done.left), (4, 0));
            assert_eq!(rewrite(&done.bytes, &map).unwrap(), None);
            assert_eq!(rewrite(&done.bytes, &map.reversed()).unwrap().unwrap().bytes, file(OLD));
        }
    }

    #[test]
    fn text_in_binary_data_that_does_not_fit_is_counted() {
        let data = utf16le(&OLD.to_string());
        let file = [HEADER.to_vec(), record("k", "v", 3, &data)].concat();
        let left = rewrite(&file, &SidMap::new([(OLD, SHORT)]).unwrap()).unwrap().unwrap();
        assert_eq!((left.sids, left.left, left.bytes), (0, 1, file));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_error_or_keeps_the_rest() {
        let (file, map) = (file(OLD), SidMap::new([(OLD, SHORT)]).unwrap());
        let ends: Vec<usize> = lines_end(&file);
        for cut in 0..file.len() {
            let result = rewrite(&file[..cut], &map);
            assert_eq!(result.is_ok(), ends.contains(&cut), "cut at {cut}");
        }
        for at in 0..file.len() {
            let mut bytes = file.clone();
            bytes[at] ^= 0x41;
            if let Ok(Some(done)) = rewrite(&bytes, &map) {
                let again = rewrite(&done.bytes, &map).unwrap();
                assert!(again.is_none_or(|again| again.sids == 0), "byte {at}");
            }
        }
    }

    /// Where records end: a file may end there, too.
    fn lines_end(file: &[u8]) -> Vec<usize> {
        let mut ends = vec![8];
        let mut reader = Reader { view: View::new("Registry.pol", 0, file), at: 8 };
        let mut out = Rewritten { bytes: Vec::new(), sids: 0, left: 0 };
        while reader.at < file.len() {
            reader.record(&SidMap::new([(OLD, SHORT)]).unwrap(), &mut out).unwrap();
            ends.push(reader.at);
        }
        ends
    }
}
