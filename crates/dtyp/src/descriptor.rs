//! [MS-DTYP] 2.4.6 SECURITY_DESCRIPTOR, self-relative.

use crate::ace::{ace_type, is_callback};
use crate::{Acl, Result, Sid, View, claim, condition};

/// `SE_*` bits of the control word, [MS-DTYP] 2.4.6.
#[allow(missing_docs, reason = "the names are the specification's")]
pub mod control {
    pub const OWNER_DEFAULTED: u16 = 0x0001;
    pub const GROUP_DEFAULTED: u16 = 0x0002;
    pub const DACL_PRESENT: u16 = 0x0004;
    pub const SACL_PRESENT: u16 = 0x0010;
    pub const DACL_AUTO_INHERIT_REQ: u16 = 0x0100;
    pub const SACL_AUTO_INHERIT_REQ: u16 = 0x0200;
    pub const DACL_AUTO_INHERITED: u16 = 0x0400;
    pub const SACL_AUTO_INHERITED: u16 = 0x0800;
    pub const DACL_PROTECTED: u16 = 0x1000;
    pub const SACL_PROTECTED: u16 = 0x2000;
    pub const SELF_RELATIVE: u16 = 0x8000;
}

/// Offsets in the header and in this order the parts: owner, group, SACL, DACL.
const HEADER_LEN: usize = 20;

/// A self-relative security descriptor. Reading and writing gives the same bytes, whatever order, gaps and garbage the
/// original had: Windows has been seen to refuse volumes whose root descriptor was laid out anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Always 1.
    pub revision: u8,
    /// Resource manager byte (0 as a rule).
    pub sbz1: u8,
    /// See [`control`].
    pub control: u16,
    /// Owner.
    pub owner: Option<Sid>,
    /// Primary group.
    pub group: Option<Sid>,
    /// System ACL; `None` with `SACL_PRESENT` is the null SACL.
    pub sacl: Option<Acl>,
    /// Discretionary ACL; `None` with `DACL_PRESENT` is the null DACL: everybody may do anything.
    pub dacl: Option<Acl>,
    layout: Option<Layout>,
}

/// Where the parts stood, so that they can be written there again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    /// Owner, group, SACL, DACL; 0 where absent.
    offsets: [u32; 4],
    /// The whole length, and every byte that no part covers.
    len: usize,
    gaps: Vec<(usize, Vec<u8>)>,
}

impl Descriptor {
    /// A descriptor that will be laid out as Windows does: SACL, DACL, owner, group.
    pub fn new(owner: Option<Sid>, group: Option<Sid>, sacl: Option<Acl>, dacl: Option<Acl>, flags: u16) -> Descriptor {
        let mut control = flags | control::SELF_RELATIVE;
        control |= if sacl.is_some() { control::SACL_PRESENT } else { 0 };
        control |= if dacl.is_some() { control::DACL_PRESENT } else { 0 };
        Descriptor { revision: 1, sbz1: 0, control, owner, group, sacl, dacl, layout: None }
    }

    /// Reads a descriptor that fills `bytes`. `Damaged` when it is not self-relative or a part does not lie within it.
    pub fn read(bytes: &[u8]) -> Result<Descriptor> {
        let view = View::new("security descriptor", 0, bytes);
        let (revision, sbz1, control) = (view.u8(0, "Revision")?, view.u8(1, "Sbz1")?, view.u16(2, "Control")?);
        if revision != 1 || control & control::SELF_RELATIVE == 0 {
            return Err(view.damaged(0, "Revision", format!("revision {revision}, control {control:#06x}")));
        }
        let mut offsets = [0; 4];
        for (i, field) in ["OffsetOwner", "OffsetGroup", "OffsetSacl", "OffsetDacl"].into_iter().enumerate() {
            offsets[i] = view.u32(4 + 4 * i, field)?;
            if offsets[i] != 0 && (offsets[i] as usize) < HEADER_LEN {
                return Err(view.damaged(4 + 4 * i, field, format!("{:#x} lies within the header", offsets[i])));
            }
        }
        // Offsets of ACLs that the control word calls absent mean nothing ([MS-DTYP] 2.4.6).
        let present = [true, true, control & control::SACL_PRESENT != 0, control & control::DACL_PRESENT != 0];
        let part = |i: usize, name| -> Result<Option<View<'_>>> {
            let offset = offsets[i] as usize;
            if offset == 0 || !present[i] {
                return Ok(None);
            }
            view.part(name, offset, bytes.len().saturating_sub(offset)).map(Some)
        };
        let sid = |i, name| {
            part(i, name)?.map(|v| Sid::read(v.all()).map_err(|e| v.damaged(0, "Sid", e.to_string()))).transpose()
        };
        let (owner, group) = (sid(0, "owner SID")?, sid(1, "group SID")?);
        let acl = |i, name| part(i, name)?.map(|v| Acl::read(&v)).transpose();
        let (sacl, dacl) = (acl(2, "SACL")?, acl(3, "DACL")?);
        let mut out = Descriptor { revision, sbz1, control, owner, group, sacl, dacl, layout: None };
        let gaps = out.gaps(bytes, offsets);
        out.layout = Some(Layout { offsets, len: bytes.len(), gaps });
        Ok(out)
    }

    /// Lengths of owner, group, SACL and DACL; 0 where absent.
    fn part_lens(&self) -> [usize; 4] {
        let sid = |sid: &Option<Sid>| sid.as_ref().map_or(0, Sid::byte_len);
        let acl = |acl: &Option<Acl>| acl.as_ref().map_or(0, Acl::byte_len);
        [sid(&self.owner), sid(&self.group), acl(&self.sacl), acl(&self.dacl)]
    }

    fn gaps(&self, bytes: &[u8], offsets: [u32; 4]) -> Vec<(usize, Vec<u8>)> {
        let lens = self.part_lens();
        let mut parts: Vec<(usize, usize)> =
            (0..4).filter(|&i| lens[i] > 0).map(|i| (offsets[i] as usize, lens[i])).collect();
        parts.sort_unstable();
        let mut gaps = Vec::new();
        let mut covered = HEADER_LEN;
        for (start, len) in parts.into_iter().chain([(bytes.len(), 0)]) {
            if start > covered {
                gaps.push((covered, bytes[covered..start].to_vec()));
            }
            covered = covered.max(start + len);
        }
        gaps
    }

    /// Length in bytes of the packet form.
    pub fn byte_len(&self) -> usize {
        self.layout.as_ref().map_or_else(|| HEADER_LEN + self.part_lens().iter().sum::<usize>(), |layout| layout.len)
    }

    /// Packet form: the original layout when it was read and its parts kept their lengths, Windows' order otherwise.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let lens = self.part_lens();
        let layout = self.layout.as_ref().filter(|layout| {
            let mut spans: Vec<_> =
                (0..4).filter(|&i| lens[i] > 0).map(|i| (layout.offsets[i] as usize, lens[i])).collect();
            spans.sort_unstable();
            spans.dedup();
            spans.iter().all(|(start, len)| *start >= HEADER_LEN && start + len <= layout.len)
        });
        let (offsets, len, gaps) = match layout {
            Some(layout) => (layout.offsets, layout.len, layout.gaps.as_slice()),
            None => {
                let mut offsets = [0; 4];
                let mut end = HEADER_LEN;
                for i in [2, 3, 0, 1] {
                    if lens[i] > 0 {
                        offsets[i] = end as u32;
                        end += lens[i];
                    }
                }
                (offsets, end, [].as_slice())
            }
        };
        let mut out = vec![0; len];
        out[0] = self.revision;
        out[1] = self.sbz1;
        out[2..4].copy_from_slice(&self.control.to_le_bytes());
        let sids = [&self.owner, &self.group].map(|sid| sid.as_ref().map(Sid::to_bytes));
        let acls = [&self.sacl, &self.dacl].map(|acl| acl.as_ref().map(Acl::to_bytes));
        for (start, bytes) in gaps {
            out[*start..start + bytes.len()].copy_from_slice(bytes);
        }
        let [sacl, dacl] = acls;
        let parts = sids.into_iter().chain([sacl.transpose()?, dacl.transpose()?]);
        for (i, part) in parts.enumerate() {
            out[4 + 4 * i..8 + 4 * i].copy_from_slice(&offsets[i].to_le_bytes());
            if let Some(bytes) = part {
                out[offsets[i] as usize..offsets[i] as usize + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Ok(out)
    }

    /// Byte offsets, ascending, of every SID that the structure of `bytes` names: owner, group, ACEs, SIDs in conditional
    /// expressions and in resource attribute claims. `Damaged` when the descriptor does not parse; a condition or claim
    /// that does not parse is opaque data, and no SID of it is listed.
    pub fn sid_offsets(bytes: &[u8]) -> Result<Vec<usize>> {
        let descriptor = Descriptor::read(bytes)?;
        let offsets = descriptor.layout.as_ref().map_or([0; 4], |layout| layout.offsets).map(|o| o as usize);
        let mut out = Vec::new();
        out.extend(descriptor.owner.as_ref().map(|_| offsets[0]));
        out.extend(descriptor.group.as_ref().map(|_| offsets[1]));
        for (acl, start) in [(&descriptor.sacl, offsets[2]), (&descriptor.dacl, offsets[3])] {
            for (at, ace) in acl.iter().flat_map(Acl::aces_at) {
                let ace_start = start + at;
                out.extend(ace.sid_offsets().into_iter().map(|offset| ace_start + offset));
                let inner = if is_callback(ace.ty) {
                    condition::sid_offsets(&ace.data)
                } else if ace.ty == ace_type::SYSTEM_RESOURCE_ATTRIBUTE {
                    claim::sid_offsets(&ace.data)
                } else {
                    Vec::new()
                };
                out.extend(inner.into_iter().map(|offset| ace_start + ace.data_offset() + offset));
            }
        }
        out.sort_unstable();
        out.dedup();
        Ok(out)
    }
}
