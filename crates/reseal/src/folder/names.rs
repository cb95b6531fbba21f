//! Names of Windows as the host spells them: UTF-8, in which half a surrogate pair stands as three bytes, as ntfs-3g writes
//! it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The units of a host's name. Bytes that are no name of Windows become U+FFFD each, and `false` says so.
pub(super) fn units(host: &OsStr) -> (Vec<u16>, bool) {
    let mut rest = host.as_bytes();
    let (mut out, mut is_exact) = (Vec::with_capacity(rest.len()), true);
    while !rest.is_empty() {
        let (valid, behind) = match std::str::from_utf8(rest) {
            Ok(text) => (text, &[][..]),
            Err(e) => {
                let (valid, behind) = rest.split_at(e.valid_up_to());
                (std::str::from_utf8(valid).unwrap_or_default(), behind)
            }
        };
        out.extend(valid.encode_utf16());
        rest = match *behind {
            // U+D800 to U+DFFF in the form of UTF-8.
            [0xed, b @ 0xa0..=0xbf, c @ 0x80..=0xbf, ..] => {
                out.push(0xd000 | u16::from(b & 0x3f) << 6 | u16::from(c & 0x3f));
                &behind[3..]
            }
            [_, ..] => {
                out.push(0xfffd);
                is_exact = false;
                &behind[1..]
            }
            [] => &[],
        };
    }
    (out, is_exact)
}

/// The host's name for units. `None` for a name that no host can hold: empty, `.`, `..`, or with a slash or NUL.
pub(super) fn host(units: &[u16]) -> Option<OsString> {
    let mut out = Vec::with_capacity(units.len());
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                out.extend([0xe0 | (unit >> 12) as u8, 0x80 | (unit >> 6) as u8 & 0x3f, 0x80 | unit as u8 & 0x3f]);
            }
        }
    }
    let is_name = !matches!(out.as_slice(), b"" | b"." | b"..") && !out.iter().any(|b| matches!(b, b'/' | 0));
    is_name.then(|| OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in ["a", "Ünïcode", "語", "😀.txt"] {
            let wide: Vec<u16> = name.encode_utf16().collect();
            assert_eq!(host(&wide).as_deref(), Some(OsStr::new(name)));
            assert_eq!(units(OsStr::new(name)), (wide, true));
        }
        for lone in [vec![0xd800], vec![0x61, 0xdfff, 0x62], vec![0xdc00, 0xd800]] {
            let text = host(&lone).unwrap();
            assert_eq!(units(&text), (lone, true));
        }
        assert_eq!(host(&[0xd800]).unwrap().as_bytes(), b"\xed\xa0\x80");
        for bad in ["", ".", "..", "a/b", "a\0"] {
            assert_eq!(host(&bad.encode_utf16().collect::<Vec<_>>()), None, "{bad:?}");
        }
        assert_eq!(units(OsStr::from_bytes(b"x\xff\xed\xa0")), (vec![0x78, 0xfffd, 0xfffd, 0xfffd], false));
    }
}
