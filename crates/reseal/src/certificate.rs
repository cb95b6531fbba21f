//! Certificates of the machine's store, as far as who issued them.
//!
//! The registry keeps a certificate as a list of properties {u32 id, u32 reserved, u32 length, bytes}; property 32 is the
//! certificate itself, in DER (X.690) as RFC 5280 lays it out. Every length is held against the bytes that there are.

use reseal_dtyp::{Error, Result, View};

/// Length of what stands before a property's bytes.
const PROPERTY_HEADER: usize = 12;
/// `CERT_CERT_PROP_ID`.
const CERTIFICATE: u32 = 32;

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, in which a certificate of version 2 or 3 states its version.
const VERSION: u8 = 0xa0;
/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// Common names of the issuer of a certificate that the registry keeps. `Damaged` when it cannot be read to that point.
pub(crate) fn issuers(blob: &[u8]) -> Result<Vec<String>> {
    issuers_of(certificate(blob)?)
}

/// The certificate of a list of properties.
fn certificate(blob: &[u8]) -> Result<&[u8]> {
    let view = View::new("properties of a certificate", 0, blob);
    let (mut at, mut found) = (0, None);
    while at < blob.len() {
        let (id, len) = (view.u32(at, "id")?, view.u32(at + 8, "length")? as usize);
        let data = view.bytes(at + PROPERTY_HEADER, len, "data")?;
        if id == CERTIFICATE {
            found = Some(data);
        }
        at += PROPERTY_HEADER + len;
    }
    found.ok_or_else(|| Error::damaged("properties of a certificate", "id", 0, "none of them is the certificate"))
}

/// What of a value in DER is still to be read.
struct Der<'b> {
    bytes: &'b [u8],
    /// Where it begins in the certificate.
    at: usize,
}

impl<'b> Der<'b> {
    /// Tag and content of the next value.
    fn next(&mut self) -> Result<(u8, Der<'b>)> {
        let view = View::new("certificate", self.at as u64, self.bytes);
        let (tag, first) = (view.u8(0, "tag")?, view.u8(1, "length")?);
        let (head, len) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let number = view.bytes(2, count, "length")?.iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
                (2 + count, number as usize)
            }
            _ => return Err(view.damaged(1, "length", format!("{first:#x} is no length of DER"))),
        };
        let content = Der { bytes: view.bytes(head, len, "content")?, at: self.at + head };
        self.bytes = &self.bytes[head + len..];
        self.at += head + len;
        Ok((tag, content))
    }

    /// The content of the next value, which must be of this kind.
    fn expect(&mut self, tag: u8, what: &'static str) -> Result<Der<'b>> {
        let at = self.at as u64;
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            (found, _) => {
                Err(Error::damaged("certificate", what, at, format!("tag {found:#04x}, {tag:#04x} was expected")))
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn issuers_of(der: &[u8]) -> Result<Vec<String>> {
    let mut signed = Der { bytes: der, at: 0 }.expect(SEQUENCE, "Certificate")?.expect(SEQUENCE, "tbsCertificate")?;
    if signed.bytes.first() == Some(&VERSION) {
        signed.next()?;
    }
    signed.expect(INTEGER, "serialNumber")?;
    signed.expect(SEQUENCE, "signature")?;
    let mut issuer = signed.expect(SEQUENCE, "issuer")?;
    let mut out = Vec::new();
    while !issuer.is_empty() {
        let mut part = issuer.expect(SET, "RelativeDistinguishedName")?;
        while !part.is_empty() {
            let mut pair = part.expect(SEQUENCE, "AttributeTypeAndValue")?;
            let kind = pair.expect(OBJECT_ID, "type")?;
            let (tag, value) = pair.next()?;
            if kind.bytes == COMMON_NAME {
                out.push(text(tag, value.bytes));
            }
        }
    }
    Ok(out)
}

/// A string of a name: UTF-16 in big endian, UTF-8 and what is a part of it, or one byte for each letter.
fn text(tag: u8, bytes: &[u8]) -> String {
    const BMP: u8 = 0x1e;
    const T61: u8 = 0x14;
    match tag {
        BMP => {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
            reseal_dtyp::utf16_lossy(&units)
        }
        T61 => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::Kind;

    /// A value with the shortest length that DER allows.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let head = match len {
            0..=0x7f => vec![tag, len as u8],
            0x80..=0xff => vec![tag, 0x81, len as u8],
            _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
        };
        [head, content.to_vec()].concat()
    }

    fn name(parts: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let set = |(kind, tag, value): &(&[u8], u8, &[u8])| {
            der(SET, &der(SEQUENCE, &[der(OBJECT_ID, kind), der(*tag, value)].concat()))
        };
        der(SEQUENCE, &parts.iter().flat_map(set).collect::<Vec<u8>>())
    }

    fn signed(version: &[u8], issuer: &[u8]) -> Vec<u8> {
        let rest = der(SEQUENCE, &[7; 300]);
        let inner = [version, &der(INTEGER, &[1, 2]), &der(SEQUENCE, &[]), issuer, &rest].concat();
        der(SEQUENCE, &[der(SEQUENCE, &inner), der(SEQUENCE, &[]), der(3, &[0; 257])].concat())
    }

    fn blob(certificate: &[u8]) -> Vec<u8> {
        let property = |id: u32, data: &[u8]| {
            [&id.to_le_bytes()[..], &[1, 0, 0, 0], &(data.len() as u32).to_le_bytes(), data].concat()
        };
        [property(3, &[9; 20]), property(32, certificate), property(2, b"key")].concat()
    }

    #[test]
    fn the_issuers_common_name() {
        let organization: &[u8] = &[0x55, 4, 10];
        let wide: Vec<u8> = "Größe".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let issuer = name(&[
            (organization, 0x13, b"MS-Organization-Access"),
            (&COMMON_NAME, 0x0c, "Ä".as_bytes()),
            (&COMMON_NAME, 0x1e, &wide),
            (&COMMON_NAME, 0x14, b"\xe4"),
        ]);
        for version in [der(VERSION, &der(INTEGER, &[2])), Vec::new()] {
            let names = issuers(&blob(&signed(&version, &issuer))).unwrap();
            assert_eq!(names, ["Ä", "Größe", "ä"], "an organization of that name is another thing");
        }
    }

    #[test]
    fn what_is_cut_or_lies_about_its_length_is_an_error() {
        let issuer = name(&[(&COMMON_NAME, 0x13, b"MS-Organization-Access")]);
        let whole = signed(&[], &issuer);
        // Up to the end of the issuer every byte counts; what is behind is not read, but it must be there.
        for cut in 0..whole.len() {
            assert_eq!(issuers_of(&whole[..cut]).unwrap_err().kind(), Kind::Damaged, "{cut}");
        }
        let list = blob(&whole);
        for cut in 0..list.len() - 15 {
            assert!(issuers(&list[..cut]).is_err(), "{cut}");
        }
        for at in 0..60 {
            for byte in [0, 0x7f, 0x80, 0x84, 0x85, 0xff] {
                let mut bad = whole.clone();
                bad[at] = byte;
                let _ = issuers_of(&bad);
                assert!(issuers_of(&bad).is_err() || issuers_of(&bad).unwrap().len() <= 1);
            }
        }
        assert!(issuers(&[]).is_err());
        assert!(issuers_of(&der(SEQUENCE, &der(SEQUENCE, &der(OBJECT_ID, &[1])))).is_err());
    }
}
