//! A task's `Triggers` value: what the task scheduler keeps of a task beside its file.
//!
//! The layout is not documented by Microsoft. It was read from published descriptions and holds for every task of the real hives
//! that the tests read (version 0x15, Windows 7 and 8.1); later versions add two texts.

use reseal_dtyp::{Result, Sid, View};

/// CRC-32 of the task's file, by an unknown choice of its bytes.
pub(crate) const CHECKSUM: usize = 0x30;
/// Behind the version and the two times.
const FLAGS: usize = 0x28;
/// Fills up to the next multiple of eight.
const FILL: u8 = 0x48;
/// Versions that are known: 0x16 adds the principal's id, 0x17 a display name.
const VERSIONS: [u8; 3] = [0x15, 0x16, 0x17];

/// The checksum, when everything around it is as expected: up to the user and the settings behind it.
pub(crate) fn checksum(triggers: &[u8]) -> Result<u32> {
    let mut reader = Reader { view: View::new("Triggers", 0, triggers), at: FLAGS };
    let version = reader.view.u8(0, "version")?;
    if !VERSIONS.contains(&version) {
        return Err(reader.view.damaged(0, "version", format!("version {version:#x} is not known")));
    }
    reader.number("flags")?;
    let checksum = reader.number("checksum")?;
    for (field, since) in [("principal", 0x16), ("display name", 0x17)] {
        if version >= since {
            reader.counted(field)?;
        }
    }
    if reader.flag("skip user")? == 0 {
        if reader.flag("skip SID")? == 0 {
            reader.number("SID type")?;
            let at = reader.at;
            let sid = reader.counted("SID")?;
            Sid::read_exact(sid).map_err(|e| reader.view.damaged(at, "SID", e.to_string()))?;
        }
        reader.counted("user")?;
    }
    reader.counted("settings")?;
    Ok(checksum)
}

/// The value with other texts, user names above all, in its counted items: also in those of single triggers behind the head, of which
/// only this form is known. `new` gets UTF-16LE without the NUL that ends it. `None` when nothing changes, or the head is not
/// understood.
pub(crate) fn with_texts(triggers: &[u8], new: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    checksum(triggers).ok()?;
    let (mut out, mut at, mut any) = (Vec::with_capacity(triggers.len()), 0, false);
    while at < triggers.len() {
        match text_at(triggers, at).and_then(|(text, end)| Some((new(text)?, end))) {
            Some((mut text, end)) => {
                text.extend([0, 0]);
                let number = u32::try_from(text.len()).ok()?;
                out.extend(number.to_le_bytes());
                out.extend([FILL; 4]);
                out.extend(&text);
                out.resize(out.len().next_multiple_of(8), FILL);
                (at, any) = (end, true);
            }
            None => {
                let end = triggers.len().min(at + 8);
                out.extend(&triggers[at..end]);
                at = end;
            }
        }
    }
    any.then_some(out)
}

/// A counted text at a multiple of eight: what stands before its NUL, and where the item ends.
fn text_at(triggers: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut reader = Reader { view: View::new("Triggers", 0, triggers), at };
    let text = reader.counted("text").ok()?.strip_suffix(&[0, 0])?;
    (text.len() % 2 == 0 && !text.is_empty()).then_some((text, reader.at))
}

/// Items of which each fills a multiple of eight bytes.
struct Reader<'b> {
    view: View<'b>,
    at: usize,
}

impl<'b> Reader<'b> {
    fn fill(&mut self, len: usize, field: &'static str) -> Result<()> {
        let end = len.next_multiple_of(8);
        let fill = self.view.bytes(self.at + len, end - len, field)?;
        if fill.iter().any(|byte| *byte != FILL) {
            return Err(self.view.damaged(self.at + len, field, format!("filled with {fill:x?}")));
        }
        self.at += end;
        Ok(())
    }

    fn number(&mut self, field: &'static str) -> Result<u32> {
        let number = self.view.u32(self.at, field)?;
        self.fill(4, field)?;
        Ok(number)
    }

    fn flag(&mut self, field: &'static str) -> Result<u8> {
        let flag = self.view.u8(self.at, field)?;
        self.fill(1, field)?;
        Ok(flag)
    }

    /// A length, then as many bytes.
    fn counted(&mut self, field: &'static str) -> Result<&'b [u8]> {
        let len = self.number(field)? as usize;
        let bytes = self.view.bytes(self.at, len, field)?;
        self.fill(len, field)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_hive::{Hive, Recover};
    use reseal_testdata::real;

    /// A longer and a shorter user name; what stands around it stays.
    #[test]
    fn a_user_of_another_name() {
        use reseal_dtyp::utf16le;
        let filled = |bytes: &[u8]| {
            let mut out = bytes.to_vec();
            out.resize(out.len().next_multiple_of(8), FILL);
            out
        };
        let number = |n: usize| filled(&(n as u32).to_le_bytes());
        let counted = |text: &str| {
            let text = utf16le(&format!("{text}\0"));
            [number(text.len()), filled(&text)].concat()
        };
        let triggers = |user: &str| {
            let head = [filled(&[0x17]), vec![0; 32], number(7), number(0x1234_5678), counted("Author"), number(0)];
            let behind = [filled(&[0]), filled(&[1]), counted(user), number(0), filled(&[0xaa, 0xaa]), counted(user)];
            [head.concat(), behind.concat()].concat()
        };
        for name in ["B\\ann", "MACHINE-2\\ann"] {
            let new = |text: &[u8]| (*text == utf16le(r"A\ann")).then(|| utf16le(name));
            assert_eq!(with_texts(&triggers(r"A\ann"), new), Some(triggers(name)));
            assert_eq!(with_texts(&triggers(r"C\ann"), new), None);
        }
        assert_eq!(with_texts(&[0xff; 80], |_| Some(vec![])), None);
    }

    /// Every task of two real machines.
    #[test]
    fn real_tasks_are_understood() {
        let Some(root) = real::root() else { return };
        let mut count = 0;
        for file in ["deb_dfwinreg_20240316/SOFTWARE", "deb_plaso_20241006/SOFTWARE"] {
            let hive = Hive::open_vec(std::fs::read(root.join(file)).unwrap(), &[], Recover::AsIs).unwrap();
            let tasks = hive.key(r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tasks").unwrap().unwrap();
            for task in hive.subkeys(tasks).unwrap() {
                let Some(value) = hive.value(task, "Triggers").unwrap() else { continue };
                checksum(&value.data).unwrap_or_else(|e| panic!("{file} {}: {e}", hive.path(task).unwrap()));
                // Read and written the same, every text is found where it was.
                let same = with_texts(&value.data, |text| Some(text.to_vec()));
                assert!(same.is_none_or(|same| same == value.data));
                // Every cut and every flipped byte of the head is judged without a panic.
                for at in 0..value.data.len().min(256) {
                    let mut bytes = value.data.clone();
                    bytes[at] ^= 0xff;
                    let _ = checksum(&bytes);
                    assert!(at >= 0x48 || checksum(&value.data[..at]).is_err());
                }
                count += 1;
            }
        }
        println!("{count} tasks");
        assert!(count > 150, "{count}");
    }
}
