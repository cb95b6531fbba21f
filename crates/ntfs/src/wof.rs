//! Files compressed by the Windows Overlay Filter ("compact OS"): the content lies in the stream `WofCompressedData`.
//!
//! ```text
//! WofCompressedData:  [chunk 1's offset][chunk 2's offset]…  [chunk 0][chunk 1][chunk 2]…
//!                      u32, or u64 for files of 4 GiB and more; offsets count from the end of the table
//! ```

use crate::attribute::{kind, name};
use crate::file::File;
use crate::stream::Stream;
use crate::volume::Volume;
use reseal_dtyp::{Error, Result, View};

/// IO_REPARSE_TAG_WOF.
pub(crate) const TAG: u32 = 0x8000_0017;

/// How WOF stores a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wof {
    /// Content in a WIM elsewhere (WIMBoot).
    Wim,
    /// XPRESS with Huffman coding, chunks of 4 KiB.
    Xpress4K,
    /// LZX, chunks of 32 KiB.
    Lzx,
    /// XPRESS, chunks of 8 KiB.
    Xpress8K,
    /// XPRESS, chunks of 16 KiB.
    Xpress16K,
    /// A provider or algorithm that is not known.
    Unknown,
}

impl Wof {
    /// From the data of a reparse point; `None` when its tag is another one.
    pub(crate) fn of(reparse: &[u8]) -> Option<Wof> {
        let word =
            |offset: usize| reparse.get(offset..offset + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if word(0)? != TAG {
            return None;
        }
        // WOF_EXTERNAL_INFO {version 1, provider}, then for provider 2 (file): {version 1, algorithm}.
        Some(match (word(8), word(12), word(16), word(20)) {
            (Some(1), Some(1), ..) => Wof::Wim,
            (Some(1), Some(2), Some(1), Some(algorithm)) => match algorithm {
                0 => Wof::Xpress4K,
                1 => Wof::Lzx,
                2 => Wof::Xpress8K,
                3 => Wof::Xpress16K,
                _ => Wof::Unknown,
            },
            _ => Wof::Unknown,
        })
    }

    fn chunk_size(self) -> Option<usize> {
        Some(match self {
            Wof::Xpress4K => 4 << 10,
            Wof::Xpress8K => 8 << 10,
            Wof::Xpress16K => 16 << 10,
            Wof::Lzx => 32 << 10,
            Wof::Wim | Wof::Unknown => return None,
        })
    }
}

/// A WOF file ready to be read.
#[derive(Debug)]
pub(crate) struct WofContent {
    how: Wof,
    chunk: usize,
    stream: Stream,
    size: u64,
}

/// The WOF content of a file; `None` when it is stored in the ordinary way.
pub(crate) fn content(volume: &Volume, file: &File, size: u64) -> Result<Option<WofContent>> {
    let Some(how) = volume.reparse_data_of(file)?.and_then(|data| Wof::of(&data)) else { return Ok(None) };
    let Some(chunk) = how.chunk_size() else {
        return Err(Error::unsupported(format!("file {} is stored by WOF as {how:?}", file.reference)));
    };
    let stream = file.stream(kind::DATA, name::WOF, &volume.geometry)?.ok_or_else(|| {
        Error::damaged(
            "file record",
            "WofCompressedData",
            0,
            format!("file {} has no compressed stream", file.reference),
        )
    })?;
    if matches!(&stream, Stream::Clusters(clusters) if !clusters.is_plain()) {
        return Err(Error::unsupported(format!("file {}: WofCompressedData is not stored plainly", file.reference)));
    }
    let content = WofContent { how, chunk, stream, size };
    if content.table_size() > content.stream.size() {
        let detail = format!("a table of {} bytes in a stream of {}", content.table_size(), content.stream.size());
        return Err(Error::damaged("WofCompressedData", "", 0, detail));
    }
    Ok(Some(content))
}

impl WofContent {
    fn width(&self) -> u64 {
        if self.size >> 32 == 0 { 4 } else { 8 }
    }

    /// Bytes of the compressed stream.
    pub(crate) fn stored(&self) -> u64 {
        self.stream.size()
    }

    fn table_size(&self) -> u64 {
        self.size.div_ceil(self.chunk as u64).saturating_sub(1).saturating_mul(self.width())
    }

    fn raw(&self, volume: &Volume, offset: u64, buf: &mut [u8]) -> Result<()> {
        match &self.stream {
            Stream::Resident(value) => {
                let range = reseal_disk::checked_range(offset, buf.len(), value.len() as u64)?;
                buf.copy_from_slice(&value[range]);
                Ok(())
            }
            Stream::Clusters(clusters) => {
                reseal_disk::checked_range(offset, buf.len(), clusters.size)?;
                volume.read_clusters(clusters, offset, buf)
            }
        }
    }

    /// Offset behind the table of the chunk with this index; one past the last chunk gives the end of the stream.
    fn chunk_offset(&self, volume: &Volume, index: u64) -> Result<u64> {
        let chunks = self.size.div_ceil(self.chunk as u64);
        if index == 0 {
            return Ok(0);
        }
        if index >= chunks {
            return Ok(self.stream.size() - self.table_size());
        }
        let mut raw = [0; 8];
        let width = self.width();
        self.raw(volume, (index - 1) * width, &mut raw[..width as usize])?;
        View::new("WofCompressedData", (index - 1) * width, &raw).u64(0, "ChunkOffset")
    }

    /// Fills `buf` from `offset`; the range lies within the file.
    pub(crate) fn read(&self, volume: &Volume, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut plain = vec![0; self.chunk];
        let mut packed = Vec::new();
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (index, within) = (at / self.chunk as u64, (at % self.chunk as u64) as usize);
            let len = (self.size - index * self.chunk as u64).min(self.chunk as u64) as usize;
            self.read_chunk(volume, index, &mut packed, &mut plain[..len])?;
            let n = (len - within).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&plain[within..within + n]);
            done += n;
        }
        Ok(())
    }

    fn read_chunk(&self, volume: &Volume, index: u64, packed: &mut Vec<u8>, out: &mut [u8]) -> Result<()> {
        let (start, end) = (self.chunk_offset(volume, index)?, self.chunk_offset(volume, index + 1)?);
        let place = self.table_size().saturating_add(start);
        let damaged = |detail: String| Error::damaged("WofCompressedData", "chunk", place, detail);
        let len = end.checked_sub(start).filter(|&n| n > 0 && n <= out.len() as u64);
        let len =
            len.ok_or_else(|| damaged(format!("chunk {index} from {start:#x} to {end:#x} for {} bytes", out.len())))?;
        packed.resize(len as usize, 0);
        self.raw(volume, place, packed)?;
        if packed.len() == out.len() {
            out.copy_from_slice(packed);
            return Ok(());
        }
        let result = match self.how {
            Wof::Lzx => reseal_codec::lzx::decompress(packed, out, self.chunk),
            _ => reseal_codec::xpress::decompress(packed, out),
        };
        result.map_err(|e| damaged(format!("chunk {index}: {e}")))
    }
}
