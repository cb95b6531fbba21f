//! [MS-DTYP] 2.4.4 ACE and 2.4.5 ACL.

use crate::{Guid, Result, Sid, View};

/// ACE types, [MS-DTYP] 2.4.4.1. The comment is the abbreviation of SDDL.
#[allow(missing_docs, reason = "the names are the specification's")]
pub mod ace_type {
    pub const ACCESS_ALLOWED: u8 = 0x00; // A
    pub const ACCESS_DENIED: u8 = 0x01; // D
    pub const SYSTEM_AUDIT: u8 = 0x02; // AU
    pub const SYSTEM_ALARM: u8 = 0x03; // AL
    pub const ACCESS_ALLOWED_COMPOUND: u8 = 0x04;
    pub const ACCESS_ALLOWED_OBJECT: u8 = 0x05; // OA
    pub const ACCESS_DENIED_OBJECT: u8 = 0x06; // OD
    pub const SYSTEM_AUDIT_OBJECT: u8 = 0x07; // OU
    pub const SYSTEM_ALARM_OBJECT: u8 = 0x08; // OL
    pub const ACCESS_ALLOWED_CALLBACK: u8 = 0x09; // XA
    pub const ACCESS_DENIED_CALLBACK: u8 = 0x0a; // XD
    pub const ACCESS_ALLOWED_CALLBACK_OBJECT: u8 = 0x0b; // ZA
    pub const ACCESS_DENIED_CALLBACK_OBJECT: u8 = 0x0c;
    pub const SYSTEM_AUDIT_CALLBACK: u8 = 0x0d; // XU
    pub const SYSTEM_ALARM_CALLBACK: u8 = 0x0e;
    pub const SYSTEM_AUDIT_CALLBACK_OBJECT: u8 = 0x0f;
    pub const SYSTEM_ALARM_CALLBACK_OBJECT: u8 = 0x10;
    pub const SYSTEM_MANDATORY_LABEL: u8 = 0x11; // ML
    pub const SYSTEM_RESOURCE_ATTRIBUTE: u8 = 0x12; // RA
    pub const SYSTEM_SCOPED_POLICY_ID: u8 = 0x13; // SP
    pub const SYSTEM_PROCESS_TRUST_LABEL: u8 = 0x14; // TL
    pub const SYSTEM_ACCESS_FILTER: u8 = 0x15; // FL
}

/// Where the SID stands in an ACE and what surrounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// header, mask, SID, data
    Plain,
    /// header, mask, flags, GUIDs as flagged, SID, data ([MS-DTYP] 2.4.4.3)
    Object,
    /// header, mask, two words, server SID, client SID
    Compound,
    /// not known: kept as bytes
    Opaque,
}

fn shape(ty: u8) -> Shape {
    use ace_type::*;
    match ty {
        ACCESS_ALLOWED_COMPOUND => Shape::Compound,
        ACCESS_ALLOWED_OBJECT..=SYSTEM_ALARM_OBJECT
        | ACCESS_ALLOWED_CALLBACK_OBJECT
        | ACCESS_DENIED_CALLBACK_OBJECT
        | SYSTEM_AUDIT_CALLBACK_OBJECT
        | SYSTEM_ALARM_CALLBACK_OBJECT => Shape::Object,
        0..=SYSTEM_ACCESS_FILTER => Shape::Plain,
        _ => Shape::Opaque,
    }
}

/// Whether the data behind the SID may be a conditional expression.
pub(crate) fn is_callback(ty: u8) -> bool {
    use ace_type::*;
    matches!(ty, ACCESS_ALLOWED_CALLBACK..=SYSTEM_ALARM_CALLBACK_OBJECT | SYSTEM_ACCESS_FILTER)
}

/// What stands between mask and SID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AceBody {
    /// One SID.
    Plain {
        /// The trustee.
        sid: Sid,
    },
    /// [MS-DTYP] 2.4.4.3 and the other object ACEs.
    Object {
        /// 1: `object` is there, 2: `inherited` is there; other bits are kept.
        flags: u32,
        /// Object type.
        object: Option<Guid>,
        /// Inherited object type.
        inherited: Option<Guid>,
        /// The trustee.
        sid: Sid,
    },
    /// Compound ACE: one kind (impersonation) was ever defined.
    Compound {
        /// Compound type and reserved word.
        words: [u16; 2],
        /// The server.
        server: Sid,
        /// The client.
        client: Sid,
    },
    /// A type above 0x15: nothing but the data is known, and the mask is part of it.
    Opaque,
}

/// One access control entry, byte-exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ace {
    /// See [`ace_type`].
    pub ty: u8,
    /// Inheritance and audit flags, [MS-DTYP] 2.4.4.1.
    pub flags: u8,
    /// Access mask; 0 for an opaque ACE.
    pub mask: u32,
    /// What stands between mask and data.
    pub body: AceBody,
    /// What follows the last SID up to the ACE's size: a condition, a claim, padding or nothing.
    pub data: Vec<u8>,
}

/// Object ACE flags.
const OBJECT_TYPE_PRESENT: u32 = 1;
const INHERITED_OBJECT_TYPE_PRESENT: u32 = 2;

impl Ace {
    /// Reads the ACE at the start of `view`; returns it with its size in bytes. `Damaged` when anything crosses its size.
    pub fn read(view: &View<'_>) -> Result<(Ace, usize)> {
        let (ty, flags, size) = (view.u8(0, "AceType")?, view.u8(1, "AceFlags")?, usize::from(view.u16(2, "AceSize")?));
        if size < 4 {
            return Err(view.damaged(2, "AceSize", format!("an ACE of {size} bytes")));
        }
        let ace = view.part("ACE", 0, size)?;
        if shape(ty) == Shape::Opaque {
            let data = ace.bytes(4, size - 4, "data")?.to_vec();
            return Ok((Ace { ty, flags, mask: 0, body: AceBody::Opaque, data }, size));
        }
        let mask = ace.u32(4, "Mask")?;
        let (body, end) = match shape(ty) {
            Shape::Object => read_object(&ace)?,
            Shape::Compound => {
                let words = [ace.u16(8, "CompoundAceType")?, ace.u16(10, "Reserved")?];
                let server = read_sid(&ace, 12)?;
                let client = read_sid(&ace, 12 + server.byte_len())?;
                let end = 12 + server.byte_len() + client.byte_len();
                (AceBody::Compound { words, server, client }, end)
            }
            _ => {
                let sid = read_sid(&ace, 8)?;
                let end = 8 + sid.byte_len();
                (AceBody::Plain { sid }, end)
            }
        };
        Ok((Ace { ty, flags, mask, body, data: ace.all()[end..].to_vec() }, size))
    }

    /// The trustee; for a compound ACE the client; none for an opaque one.
    pub fn sid(&self) -> Option<&Sid> {
        match &self.body {
            AceBody::Plain { sid } | AceBody::Object { sid, .. } => Some(sid),
            AceBody::Compound { client, .. } => Some(client),
            AceBody::Opaque => None,
        }
    }

    /// Offset of [`Ace::data`] from the ACE's first byte.
    pub(crate) fn data_offset(&self) -> usize {
        match &self.body {
            AceBody::Plain { sid } => 8 + sid.byte_len(),
            AceBody::Object { object, inherited, sid, .. } => {
                12 + 16 * (usize::from(object.is_some()) + usize::from(inherited.is_some())) + sid.byte_len()
            }
            AceBody::Compound { server, client, .. } => 12 + server.byte_len() + client.byte_len(),
            AceBody::Opaque => 4,
        }
    }

    /// Offsets of the SIDs before [`Ace::data`], from the ACE's first byte.
    pub(crate) fn sid_offsets(&self) -> Vec<usize> {
        match &self.body {
            AceBody::Plain { .. } => vec![8],
            AceBody::Object { sid, .. } => vec![self.data_offset() - sid.byte_len()],
            AceBody::Compound { server, .. } => vec![12, 12 + server.byte_len()],
            AceBody::Opaque => Vec::new(),
        }
    }

    /// Size in bytes; above 65,535 it cannot be written.
    pub fn byte_len(&self) -> usize {
        self.data_offset() + self.data.len()
    }

    /// Appends the packet form; `Limit` above 65,535 bytes.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let size = u16::try_from(self.byte_len()).map_err(|_| {
            crate::Error::new(crate::Kind::Limit, format!("an ACE of {} bytes; 65535 fit", self.byte_len()))
        })?;
        out.extend_from_slice(&[self.ty, self.flags]);
        out.extend_from_slice(&size.to_le_bytes());
        if self.body != AceBody::Opaque {
            out.extend_from_slice(&self.mask.to_le_bytes());
        }
        match &self.body {
            AceBody::Plain { sid } => out.extend_from_slice(&sid.to_bytes()),
            AceBody::Object { flags, object, inherited, sid } => {
                out.extend_from_slice(&flags.to_le_bytes());
                [object, inherited].into_iter().flatten().for_each(|guid| out.extend_from_slice(&guid.0));
                out.extend_from_slice(&sid.to_bytes());
            }
            AceBody::Compound { words, server, client } => {
                words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
                [server, client].into_iter().for_each(|sid| out.extend_from_slice(&sid.to_bytes()));
            }
            AceBody::Opaque => {}
        }
        out.extend_from_slice(&self.data);
        Ok(())
    }
}

fn read_object(ace: &View<'_>) -> Result<(AceBody, usize)> {
    let flags = ace.u32(8, "Flags")?;
    let mut end = 12;
    let mut guid = |present: bool, field| -> Result<Option<Guid>> {
        if !present {
            return Ok(None);
        }
        let mut raw = [0; 16];
        raw.copy_from_slice(ace.bytes(end, 16, field)?);
        end += 16;
        Ok(Some(Guid(raw)))
    };
    let object = guid(flags & OBJECT_TYPE_PRESENT != 0, "ObjectType")?;
    let inherited = guid(flags & INHERITED_OBJECT_TYPE_PRESENT != 0, "InheritedObjectType")?;
    let sid = read_sid(ace, end)?;
    let end = end + sid.byte_len();
    Ok((AceBody::Object { flags, object, inherited, sid }, end))
}

fn read_sid(ace: &View<'_>, offset: usize) -> Result<Sid> {
    Sid::read(ace.bytes(offset, ace.len().saturating_sub(offset), "Sid")?)
        .map_err(|e| ace.damaged(offset, "Sid", e.to_string()))
}

/// An access control list, byte-exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// 2, or 4 when object ACEs are in it.
    pub revision: u8,
    /// Reserved byte and word, kept.
    pub reserved: (u8, u16),
    /// The entries in their order.
    pub aces: Vec<Ace>,
    /// Free space between the last entry and the list's size.
    pub slack: Vec<u8>,
}

impl Acl {
    /// An ACL without slack; the revision follows from the entries.
    pub fn new(aces: Vec<Ace>) -> Acl {
        let object = aces.iter().any(|ace| matches!(ace.body, AceBody::Object { .. }));
        Acl { revision: if object { 4 } else { 2 }, reserved: (0, 0), aces, slack: Vec::new() }
    }

    /// Reads the ACL at the start of `view`. `Damaged` when an entry crosses the list's size.
    pub fn read(view: &View<'_>) -> Result<Acl> {
        let revision = view.u8(0, "AclRevision")?;
        let size = usize::from(view.u16(2, "AclSize")?);
        if !(2..=4).contains(&revision) || size < 8 {
            return Err(view.damaged(0, "AclRevision", format!("revision {revision}, size {size}")));
        }
        let acl = view.part("ACL", 0, size)?;
        let count = acl.u16(4, "AceCount")?;
        let mut aces = Vec::new();
        let mut offset = 8;
        for index in 0..count {
            let rest = acl.part("ACE", offset, size - offset)?;
            if rest.len() < 4 {
                return Err(acl.damaged(4, "AceCount", format!("{count} ACEs, room for {index} in {size} bytes")));
            }
            let (ace, ace_size) = Ace::read(&rest)?;
            aces.push(ace);
            offset += ace_size;
        }
        let reserved = (acl.u8(1, "Sbz1")?, acl.u16(6, "Sbz2")?);
        Ok(Acl { revision, reserved, aces, slack: acl.all()[offset..].to_vec() })
    }

    /// Size in bytes, slack included.
    pub fn byte_len(&self) -> usize {
        8 + self.aces.iter().map(Ace::byte_len).sum::<usize>() + self.slack.len()
    }

    /// Packet form; `Limit` above 65,535 bytes or entries.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let limit =
            |what: &str, n: usize| crate::Error::new(crate::Kind::Limit, format!("an ACL of {n} {what}; 65535 fit"));
        let size = u16::try_from(self.byte_len()).map_err(|_| limit("bytes", self.byte_len()))?;
        let count = u16::try_from(self.aces.len()).map_err(|_| limit("entries", self.aces.len()))?;
        let mut out = vec![self.revision, self.reserved.0];
        [size, count, self.reserved.1].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        self.aces.iter().try_for_each(|ace| ace.write(&mut out))?;
        out.extend_from_slice(&self.slack);
        Ok(out)
    }

    /// The entries with their offsets from the list's first byte.
    pub(crate) fn aces_at(&self) -> impl Iterator<Item = (usize, &Ace)> {
        self.aces.iter().scan(8, |offset, ace| {
            let at = *offset;
            *offset += ace.byte_len();
            Some((at, ace))
        })
    }
}
