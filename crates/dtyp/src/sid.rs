//! [MS-DTYP] 2.4.2 SID.

use crate::{Error, Kind, Result, View};
use std::fmt;
use std::str::FromStr;

/// A security identifier: authority and 0 to 15 sub-authorities.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    authority: [u8; 6],
    subs: Vec<u32>,
}

/// [MS-DTYP] 2.4.2.2: at most 15 sub-authorities.
const MAX_SUBS: usize = 15;

impl Sid {
    /// A SID of the given authority (48 bits); `Limit` above 15 sub-authorities or 48 bits.
    pub fn new(authority: u64, subs: &[u32]) -> Result<Sid> {
        if subs.len() > MAX_SUBS || authority >> 48 != 0 {
            return Err(Error::new(
                Kind::Limit,
                format!(
                    "a SID has at most {MAX_SUBS} sub-authorities and a 48-bit authority, not {} and {authority:#x}",
                    subs.len()
                ),
            ));
        }
        let bytes = authority.to_be_bytes();
        let mut six = [0; 6];
        six.copy_from_slice(&bytes[2..]);
        Ok(Sid { authority: six, subs: subs.to_vec() })
    }

    /// Reads the SID at the start of `bytes`; more bytes may follow. `Damaged` when it is cut or its revision is not 1.
    pub fn read(bytes: &[u8]) -> Result<Sid> {
        let view = View::new("SID", 0, bytes);
        let (revision, count) = (view.u8(0, "Revision")?, usize::from(view.u8(1, "SubAuthorityCount")?));
        if revision != 1 || count > MAX_SUBS {
            return Err(view.damaged(0, "Revision", format!("revision {revision}, {count} sub-authorities")));
        }
        let mut authority = [0; 6];
        authority.copy_from_slice(view.bytes(2, 6, "IdentifierAuthority")?);
        let subs = view.bytes(8, count * 4, "SubAuthority")?;
        let subs = subs.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Sid { authority, subs })
    }

    /// Reads a SID that fills `bytes` exactly.
    pub fn read_exact(bytes: &[u8]) -> Result<Sid> {
        let sid = Sid::read(bytes)?;
        if sid.byte_len() == bytes.len() {
            Ok(sid)
        } else {
            let detail = format!("the SID is {} bytes long, its field {}", sid.byte_len(), bytes.len());
            Err(Error::damaged("SID", "", 0, detail))
        }
    }

    /// Binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.byte_len());
        out.extend_from_slice(&[1, self.subs.len() as u8]);
        out.extend_from_slice(&self.authority);
        self.subs.iter().for_each(|sub| out.extend_from_slice(&sub.to_le_bytes()));
        out
    }

    /// Length of the binary form in bytes: 8 to 68.
    pub fn byte_len(&self) -> usize {
        8 + 4 * self.subs.len()
    }

    /// The 48-bit authority.
    pub fn authority(&self) -> u64 {
        self.authority.iter().fold(0, |acc, &b| acc << 8 | u64::from(b))
    }

    /// The sub-authorities.
    pub fn subs(&self) -> &[u32] {
        &self.subs
    }

    /// The machine or domain part of `S-1-5-21-a-b-c` and `S-1-5-21-a-b-c-…`.
    pub fn domain(&self) -> Option<DomainSid> {
        match self.subs[..] {
            [21, a, b, c, ..] if self.authority() == 5 => Some(DomainSid([a, b, c])),
            _ => None,
        }
    }

    /// The last sub-authority of an account of a machine or domain: `S-1-5-21-a-b-c-RID`.
    pub fn rid(&self) -> Option<u32> {
        match self.subs[..] {
            [21, _, _, _, rid] if self.authority() == 5 => Some(rid),
            _ => None,
        }
    }
}

impl FromStr for Sid {
    type Err = Error;

    /// Parses `S-1-…`; the authority decimal or `0x` hexadecimal.
    fn from_str(text: &str) -> Result<Sid> {
        let bad = || Error::new(Kind::Damaged, format!("`{text}` is not a SID (expected S-1-5-21-… or the like)"));
        let rest = text.strip_prefix("S-1-").or_else(|| text.strip_prefix("s-1-")).ok_or_else(bad)?;
        let mut parts = rest.split('-');
        let authority = parts.next().ok_or_else(bad)?;
        let authority = match authority.strip_prefix("0x").or_else(|| authority.strip_prefix("0X")) {
            Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| bad())?,
            None => decimal(authority).ok_or_else(bad)?,
        };
        let subs: Option<Vec<u32>> = parts.map(|p| decimal(p).and_then(|v| u32::try_from(v).ok())).collect();
        Sid::new(authority, &subs.ok_or_else(bad)?)
    }
}

/// Digits only: `str::parse` would accept a sign.
fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // [MS-DTYP] 2.4.2.1: an authority of 2^32 and above is written in hexadecimal.
        match self.authority() {
            small if small >> 32 == 0 => write!(f, "S-1-{small}")?,
            large => write!(f, "S-1-{large:#x}")?,
        }
        self.subs.iter().try_for_each(|sub| write!(f, "-{sub}"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The three numbers of `S-1-5-21-a-b-c`: what a machine or a domain prefixes to its accounts' RIDs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainSid(pub [u32; 3]);

impl DomainSid {
    /// The 24-byte SID without a RID.
    pub fn sid(self) -> Sid {
        self.child(&[])
    }

    /// The SID of one account.
    pub fn account(self, rid: u32) -> Sid {
        self.child(&[rid])
    }

    fn child(self, tail: &[u32]) -> Sid {
        let [a, b, c] = self.0;
        let mut subs = vec![21, a, b, c];
        subs.extend_from_slice(tail);
        Sid { authority: [0, 0, 0, 0, 0, 5], subs }
    }

    /// The 22 bytes that every binary SID of this machine holds, from the authority on.
    pub fn pattern(self) -> [u8; 22] {
        let mut out = [0; 22];
        out.copy_from_slice(&self.sid().to_bytes()[2..]);
        out
    }
}

impl FromStr for DomainSid {
    type Err = Error;

    fn from_str(text: &str) -> Result<DomainSid> {
        let sid: Sid = text.parse()?;
        match sid.domain() {
            Some(domain) if sid.subs.len() == 4 => Ok(domain),
            _ => Err(Error::new(Kind::Damaged, format!("`{text}` is not a machine SID (expected S-1-5-21-a-b-c)"))),
        }
    }
}

impl fmt::Display for DomainSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "S-1-5-21-{a}-{b}-{c}")
    }
}

impl fmt::Debug for DomainSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        for text in ["S-1-0-0", "S-1-5-18", "S-1-5-21-1-2-4294967295-500", "S-1-0x100000000-7", "S-1-16-12288", "S-1-5"]
        {
            assert_eq!(text.parse::<Sid>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "S-1",
            "S-1-",
            "S-2-5-18",
            "S-1-5-+1",
            "S-1-5-4294967296",
            "S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16",
        ] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_round_trip() {
        let sid: Sid = "S-1-5-21-1004336348-1177238915-682003330-500".parse().unwrap();
        assert_eq!(Sid::read_exact(&sid.to_bytes()).unwrap(), sid);
        assert_eq!(sid.domain().unwrap().account(500), sid);
        assert_eq!(sid.rid(), Some(500));
        for cut in 0..sid.byte_len() {
            assert!(Sid::read(&sid.to_bytes()[..cut]).is_err());
        }
        assert_eq!(&sid.to_bytes()[2..24], &sid.domain().unwrap().pattern());
    }
}
