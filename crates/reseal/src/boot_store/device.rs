//! The data of a device element, as real stores have it: the GUID of an object with further options, then a device
//! {kind u32, flags u32, length u32, 0 u32, …}, whose length counts from its own start.

use reseal_disk::Partition;
use reseal_dtyp::{Guid, Result, View};
use std::fmt;

/// Kinds that real stores show.
const BOOT: u32 = 5;
const PARTITION: u32 = 6;
const LOCATE: u32 = 8;
/// Where the device itself begins, and where what is of its kind does.
const HEADER: usize = 16;
const BODY: usize = HEADER + 16;

/// What a device element names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// The partition from which the boot manager was started.
    Boot,
    /// The first partition with the file or folder that an element of the same object names.
    Locate(u32),
    /// A partition of a GPT disk.
    Gpt { partition: Guid, disk: Guid },
    /// A partition of an MBR disk.
    Mbr { offset: u64, signature: u32 },
    /// Something else, such as a file in a RAM disk: kind, length of the data.
    Other(u32, usize),
}

impl Device {
    /// Reads an element's data. `Damaged` when its length does not fit.
    pub(crate) fn read(data: &[u8]) -> Result<Device> {
        let view = View::new("device element", 0, data);
        let options = view.bytes(0, HEADER, "options")?;
        let (kind, flags, len) =
            (view.u32(HEADER, "kind")?, view.u32(HEADER + 4, "flags")?, view.u32(HEADER + 8, "length")?);
        if len as usize != data.len() - HEADER {
            let detail = format!("the device states {len} bytes, the element has {} for it", data.len() - HEADER);
            return Err(view.damaged(HEADER + 8, "length", detail));
        }
        let other = Device::Other(kind, data.len());
        // What has flags or further options is more than the plain form.
        if flags != 0 || options.iter().any(|b| *b != 0) {
            return Ok(other);
        }
        let body = view.part("device element", BODY, data.len() - BODY)?;
        Ok(match (kind, data.len()) {
            (BOOT, 88) if body.all().iter().all(|b| *b == 0) => Device::Boot,
            (PARTITION, 88) => {
                let guid = |at| -> Result<Guid> {
                    let mut out = [0; 16];
                    out.copy_from_slice(body.bytes(at, 16, "identity")?);
                    Ok(Guid(out))
                };
                match body.u32(20, "partition style")? {
                    0 => Device::Gpt { partition: guid(0)?, disk: guid(24)? },
                    1 => Device::Mbr { offset: body.u64(0, "offset")?, signature: body.u32(24, "signature")? },
                    _ => other,
                }
            }
            (LOCATE, 46) if body.u32(0, "how")? == 0 => Device::Locate(body.u32(4, "element")?),
            _ => other,
        })
    }

    /// Whether it names one partition of one disk.
    pub(crate) fn is_partition(&self) -> bool {
        matches!(self, Device::Gpt { .. } | Device::Mbr { .. })
    }

    /// Whether it names this partition, by its identity on a GPT disk, by where it begins on an MBR disk.
    pub(crate) fn names(&self, partition: &Partition) -> bool {
        match self {
            Device::Gpt { partition: id, .. } => *id == partition.id,
            Device::Mbr { offset, .. } => *offset == partition.offset,
            _ => false,
        }
    }

    /// The data of [`Device::Boot`]: 88 bytes.
    pub(crate) fn boot() -> Vec<u8> {
        let mut out = vec![0; 88];
        out[HEADER] = BOOT as u8;
        out[HEADER + 8] = 72;
        out
    }

    /// The data of [`Device::Locate`]: 46 bytes.
    pub(crate) fn locate(element: u32) -> Vec<u8> {
        let mut out = vec![0; 46];
        out[HEADER] = LOCATE as u8;
        out[HEADER + 8] = 30;
        out[BODY + 4..BODY + 8].copy_from_slice(&element.to_le_bytes());
        out
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Boot => f.write_str("boot"),
            Device::Locate(element) => write!(f, "locate by element {element:08x}"),
            Device::Gpt { partition, .. } => write!(f, "partition {{{partition}}}"),
            Device::Mbr { offset, signature } => write!(f, "partition at {offset} of disk {signature:08x}"),
            Device::Other(kind, len) => write!(f, "a device of kind {kind}, {len} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_there_and_back_and_lengths_that_lie() {
        assert_eq!(Device::read(&Device::boot()).unwrap(), Device::Boot);
        assert_eq!(Device::read(&Device::locate(0x1200_0002)).unwrap(), Device::Locate(0x1200_0002));
        for bad in [vec![], vec![0; 31], vec![0; 88], Device::boot()[..80].to_vec()] {
            assert!(Device::read(&bad).is_err(), "{bad:?}");
        }
        // Flags, or other options, are more than is understood.
        for at in [0, 20] {
            let mut strange = Device::boot();
            strange[at] = 1;
            assert_eq!(Device::read(&strange).unwrap(), Device::Other(5, 88));
        }
    }
}
