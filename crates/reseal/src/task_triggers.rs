//! The head of a task's `Triggers` value: what the task scheduler keeps of a task beside its file.
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
