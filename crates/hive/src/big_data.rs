//! Big data (`db`): value data above 16,344 bytes in hives of version 1.4 and later, in segments.

use crate::image::{Image, place};
use reseal_dtyp::{Error, Kind, Result};

/// Data bytes of every segment of big data but the last.
pub const SEGMENT: usize = 16344;
/// A segment's cell has 4 bytes more than its data, as Windows makes it.
const SEGMENT_SLACK: usize = 4;

/// The cells of one big data record.
#[derive(Debug, Clone)]
pub(crate) struct BigData {
    pub(crate) record: u32,
    pub(crate) list: u32,
    /// Cell and data bytes of each segment, in order.
    pub(crate) segments: Vec<(u32, usize)>,
}

impl Image {
    /// Whether data of this length is stored as big data.
    pub(crate) fn is_big(&self, len: usize) -> bool {
        self.minor > 3 && len > SEGMENT
    }

    /// Reads the record that holds `len` bytes; every segment's cell is long enough.
    pub(crate) fn big_data(&self, record: u32, len: usize) -> Result<BigData> {
        let view = self.view(record, "db")?;
        let bad = |field, detail: String| Err(Error::damaged("db", field, place(record) + 4, detail));
        if view.bytes(0, 2, "signature")? != b"db" {
            return bad("signature", format!("data of {len} bytes is big data, its cell is not `db`"));
        }
        let (count, list) = (usize::from(view.u16(2, "count")?), view.u32(4, "list")?);
        // Segments that repeat a cell would let a small hive claim gigabytes.
        if len.div_ceil(SEGMENT) != count || len > self.size as usize {
            return bad("count", format!("{count} segments cannot hold {len} bytes in a hive of {:#x}", self.size));
        }
        let offsets = self.view(list, "db list")?;
        let mut segments = Vec::with_capacity(count);
        for i in 0..count {
            let (at, part) = (offsets.u32(4 * i, "segment")?, SEGMENT.min(len - i * SEGMENT));
            self.view(at, "db segment")?.bytes(0, part, "data")?;
            segments.push((at, part));
        }
        Ok(BigData { record, list, segments })
    }

    /// All bytes of a record.
    pub(crate) fn read_big(&self, record: u32, len: usize) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(len.min(self.size as usize));
        for (at, part) in self.big_data(record, len)?.segments {
            out.extend_from_slice(self.view(at, "db segment")?.bytes(0, part, "data")?);
        }
        Ok(out)
    }

    /// Stores data as big data; returns the record's cell.
    pub(crate) fn write_big(&mut self, data: &[u8]) -> Result<u32> {
        let count = u16::try_from(data.len().div_ceil(SEGMENT)).map_err(|_| {
            Error::new(Kind::Limit, format!("{} bytes of value data; big data holds 65,535 segments", data.len()))
        })?;
        let mut list = Vec::with_capacity(usize::from(count) * 4);
        for part in data.chunks(SEGMENT) {
            let at = self.allocate(part.len() + SEGMENT_SLACK)?;
            self.put(at, 0, part, "db segment")?;
            list.extend_from_slice(&at.to_le_bytes());
        }
        let list_at = self.allocate(list.len())?;
        self.put(list_at, 0, &list, "db list")?;
        let record = self.allocate(8)?;
        self.put(record, 0, b"db", "db")?;
        self.put_u16(record, 2, count, "db")?;
        self.put_u32(record, 4, list_at, "db")?;
        Ok(record)
    }

    /// Overwrites data of the same length, in place.
    pub(crate) fn overwrite_big(&mut self, record: u32, data: &[u8]) -> Result<()> {
        let big = self.big_data(record, data.len())?;
        for ((at, _), part) in big.segments.iter().zip(data.chunks(SEGMENT)) {
            if self.content(*at, "db segment")?.get(..part.len()) != Some(part) {
                self.put(*at, 0, part, "db segment")?;
            }
        }
        Ok(())
    }

    /// Gives a record's cells back.
    pub(crate) fn free_big(&mut self, record: u32, len: usize) -> Result<()> {
        let big = self.big_data(record, len)?;
        for (at, _) in big.segments {
            self.free(at, "db segment")?;
        }
        self.free(big.list, "db list")?;
        self.free(big.record, "db")
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture;
    use crate::value::Storage;

    #[test]
    fn layout_as_windows_makes_it() {
        for (minor, len, segments) in [(5, 16_344, 0), (5, 16_345, 2), (4, 40_000, 3), (3, 40_000, 0)] {
            let mut hive = fixture::empty(minor);
            let root = hive.root();
            hive.set_value(root, "data", 3, &vec![7; len]).unwrap();
            let at = hive.image.value_offsets(&hive.nk(root).unwrap()).unwrap()[0];
            let storage = hive.image.storage(&hive.image.value_cell(at).unwrap()).unwrap();
            let Storage::Big(record, _) = storage else {
                assert!(segments == 0 && matches!(storage, Storage::Cell(_, n) if n == len));
                continue;
            };
            let big = hive.image.big_data(record, len).unwrap();
            assert_eq!(big.segments.len(), segments);
            assert_eq!(big.segments[0].1, 16_344);
            // The size field says 16,352: four bytes of header, four of slack.
            assert_eq!(hive.image.raw_size(big.segments[0].0), -16_352);
            assert_eq!(hive.image.content(record, "db").unwrap()[..4], [b'd', b'b', segments as u8, 0]);
        }
    }
}
