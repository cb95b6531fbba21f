//! Edits of the account database: members of local groups, passwords. Bytes in, bytes out; what is not laid out as Windows lays it out is an
//! error, for half of a group is worse than none.

use reseal_dtyp::{Error, Kind, Result, Sid, View};

/// `C` of a local group (alias): a RID, four entries {offset, length, count} at 4, data from 52; the fourth entry is the members'.
const ALIAS_DATA: usize = 52;
const ALIAS_MEMBERS: usize = 40;
/// `C` of a global group: four dwords, a fifth of which nothing is known, then three entries, then offset, room in bytes and
/// number of the members, data from 68. Measured on 7, 8.1 and 10: `None` has room for 25 RIDs, those behind the last are zero.
const GROUP_DATA: usize = 68;
const GROUP_MEMBERS: usize = 56;

/// Where the entry at `entry` of a `C` says that its data lies: offset in the value, length, count.
fn entry(view: &View<'_>, entry: usize, data: usize) -> Result<(usize, usize, usize)> {
    let number = |at: usize, field| view.u32(entry + at, field).map(|n| n as usize);
    let (offset, len) = (number(0, "offset of the members")?, number(4, "length of the members")?);
    let start = data.saturating_add(offset);
    view.bytes(start, len, "members")?;
    Ok((start, len, number(8, "number of members")?))
}

/// The members of a local group. `Damaged` when their number is not the one that `C` states.
pub(crate) fn alias_members(c: &[u8]) -> Result<Vec<Sid>> {
    let view = View::new("SAM C value of a local group", 0, c);
    let (start, len, count) = entry(&view, ALIAS_MEMBERS, ALIAS_DATA)?;
    let mut rest = view.bytes(start, len, "members")?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let sid = Sid::read(rest)?;
        rest = &rest[sid.byte_len()..];
        out.push(sid);
    }
    if out.len() == count {
        Ok(out)
    } else {
        Err(view.damaged(ALIAS_MEMBERS + 8, "count", format!("{count} members are stated, {} are there", out.len())))
    }
}

/// `C` of a local group without the members that go; `None` when none of them is in it.
///
/// `Damaged` as for [`alias_members`], `Unsupported` when the members are not the last thing in the value, as they are wherever
/// Windows wrote it.
pub(crate) fn alias_without(c: &[u8], goes: impl Fn(&Sid) -> bool) -> Result<Option<Vec<u8>>> {
    let members = alias_members(c)?;
    let stay: Vec<&Sid> = members.iter().filter(|sid| !goes(sid)).collect();
    if stay.len() == members.len() {
        return Ok(None);
    }
    let (start, len, _) = entry(&View::new("SAM C value of a local group", 0, c), ALIAS_MEMBERS, ALIAS_DATA)?;
    if start + len != c.len() {
        let detail = format!("the members end at {:#x}, the SAM C value of the group at {:#x}", start + len, c.len());
        return Err(Error::new(Kind::Unsupported, detail));
    }
    let list: Vec<u8> = stay.iter().flat_map(|sid| sid.to_bytes()).collect();
    let mut out = c[..start].to_vec();
    out[ALIAS_MEMBERS + 4..][..4].copy_from_slice(&(list.len() as u32).to_le_bytes());
    out[ALIAS_MEMBERS + 8..][..4].copy_from_slice(&(stay.len() as u32).to_le_bytes());
    out.extend(list);
    Ok(Some(out))
}

/// `C` of a global group without a user; `None` when the user is not in it. Its length stays: the place of the last member becomes
/// zero. `Damaged` when more members are stated than there is room for.
pub(crate) fn group_without(c: &[u8], rid: u32) -> Result<Option<Vec<u8>>> {
    let view = View::new("SAM C value of a group", 0, c);
    let (start, len, count) = entry(&view, GROUP_MEMBERS, GROUP_DATA)?;
    if count > len / 4 {
        let detail = format!("{count} members are stated, there is room for {}", len / 4);
        return Err(view.damaged(GROUP_MEMBERS + 8, "count", detail));
    }
    let members: Vec<[u8; 4]> =
        view.bytes(start, 4 * count, "members")?.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect();
    let stay: Vec<[u8; 4]> = members.iter().copied().filter(|member| *member != rid.to_le_bytes()).collect();
    if stay.len() == count {
        return Ok(None);
    }
    let mut out = c.to_vec();
    out[start..][..4 * count].fill(0);
    out[start..][..4 * stay.len()].copy_from_slice(stay.as_flattened());
    out[GROUP_MEMBERS + 8..][..4].copy_from_slice(&(stay.len() as u32).to_le_bytes());
    Ok(Some(out))
}

/// The list of local groups of one member, without those that go: the number of RIDs, which is the value's type, and the RIDs.
/// `None` when none of them is in it; `Damaged` when type and length disagree.
pub(crate) fn twin_without(ty: u32, data: &[u8], goes: impl Fn(u32) -> bool) -> Result<Option<(u32, Vec<u8>)>> {
    if ty as usize != data.len() / 4 || !data.len().is_multiple_of(4) {
        let detail = format!("{ty} groups are stated, {} bytes are there", data.len());
        return Err(Error::damaged("SAM Aliases\\Members", "groups", 0, detail));
    }
    let is_left = |b: &&[u8]| !goes(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let left: Vec<u8> = data.chunks_exact(4).filter(is_left).flatten().copied().collect();
    let count = left.len() as u32 / 4;
    Ok((left.len() < data.len()).then_some((count, left)))
}

/// `V` of a user: 17 entries {offset, length, count}, data from 204; the last four are the LM and the NT hash and the history of
/// each.
const USER_DATA: usize = 204;
const USER_HASHES: std::ops::RangeInclusive<usize> = 13..=16;

/// What is left of a hash when there is no password: its head. Measured on XP to 10: revision 1 (RC4) has 4 bytes, revision 2
/// (AES) has a length, which becomes 0, and 16 random bytes, which stay.
fn blank(view: &View<'_>, at: usize, hash: &[u8]) -> Result<Vec<u8>> {
    const AES_HEAD: usize = 24;
    let bad = |detail: String| view.damaged(at, "hash", detail);
    let Some(&[_, _, low, high]) = hash.first_chunk() else {
        return if hash.is_empty() { Ok(Vec::new()) } else { Err(bad(format!("{} bytes are no hash", hash.len()))) };
    };
    match u16::from_le_bytes([low, high]) {
        1 if hash.len() % 16 == 4 => Ok(hash[..4].to_vec()),
        2 if hash.len() >= AES_HEAD => Ok([&hash[..4], &[0; 4], &hash[8..AES_HEAD]].concat()),
        revision => Err(bad(format!("{} bytes of revision {revision}", hash.len()))),
    }
}

/// `V` of a user without passwords, neither the current nor earlier ones; `None` when it has none.
///
/// `Damaged` for a hash of another form, `Unsupported` when the hashes are not the last things in the value, as they are
/// wherever Windows wrote it.
pub(crate) fn without_password(v: &[u8]) -> Result<Option<Vec<u8>>> {
    let view = View::new("SAM V value", 0, v);
    let begin = entry(&view, 12 * USER_HASHES.start(), USER_DATA)?.0;
    let (mut out, mut expected) = (v[..begin].to_vec(), begin);
    for index in USER_HASHES {
        let (start, len, _) = entry(&view, 12 * index, USER_DATA)?;
        if start != expected {
            let detail =
                format!("the SAM V value has hash {index} at {start:#x}, behind others that end at {expected:#x}");
            return Err(Error::new(Kind::Unsupported, detail));
        }
        let hash = blank(&view, start, view.bytes(start, len, "hash")?)?;
        let place = [out.len() - USER_DATA, hash.len()].map(|number| (number as u32).to_le_bytes()).concat();
        out[12 * index..][..8].copy_from_slice(&place);
        out.extend(hash);
        expected = start + len;
    }
    if expected != v.len() {
        let detail = format!("the hashes end at {expected:#x}, the SAM V value at {:#x}", v.len());
        return Err(Error::new(Kind::Unsupported, detail));
    }
    Ok((out != v).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(text: &str) -> Sid {
        text.parse().unwrap()
    }

    fn alias(members: &[Sid]) -> Vec<u8> {
        let list: Vec<u8> = members.iter().flat_map(Sid::to_bytes).collect();
        let mut c = vec![0; ALIAS_DATA + 8];
        c[40..44].copy_from_slice(&8u32.to_le_bytes());
        c[44..48].copy_from_slice(&(list.len() as u32).to_le_bytes());
        c[48..52].copy_from_slice(&(members.len() as u32).to_le_bytes());
        [c, list].concat()
    }

    #[test]
    fn members_of_any_length_go() {
        let all = [sid("S-1-5-4"), sid("S-1-5-21-1-2-3-1001"), sid("S-1-5-11"), sid("S-1-5-21-1-2-3-500")];
        let c = alias(&all);
        assert_eq!(alias_members(&c).unwrap(), all);
        assert_eq!(alias_without(&c, |s| *s == all[1]).unwrap().unwrap(), alias(&[0, 2, 3].map(|i| all[i].clone())));
        assert_eq!(alias_without(&c, |_| true).unwrap().unwrap(), alias(&[]));
        assert_eq!(alias_without(&c, |_| false).unwrap(), None);
    }

    #[test]
    fn what_windows_would_not_write_is_an_error() {
        let all = [sid("S-1-5-21-1-2-3-1001"), sid("S-1-5-21-1-2-3-500")];
        let c = alias(&all);
        let with = |at: usize, number: u32| {
            let mut bad = c.clone();
            bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
            alias_without(&bad, |_| true)
        };
        for (at, number) in [(40, u32::MAX), (40, 9), (44, u32::MAX), (44, 57), (44, 28), (48, 3), (48, u32::MAX)] {
            assert_eq!(with(at, number).unwrap_err().kind(), Kind::Damaged, "{at} {number}");
        }
        for cut in 0..c.len() {
            assert!(alias_without(&c[..cut], |_| true).is_err(), "{cut}");
        }
        let longer = [c, vec![0; 4]].concat();
        assert_eq!(alias_without(&longer, |_| true).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn groups_keep_their_length() {
        let mut c = vec![0; GROUP_DATA + 20];
        c[60..64].copy_from_slice(&20u32.to_le_bytes());
        c[64..68].copy_from_slice(&3u32.to_le_bytes());
        for (i, rid) in [500u32, 1001, 1002].iter().enumerate() {
            c[68 + 4 * i..][..4].copy_from_slice(&rid.to_le_bytes());
        }
        let out = group_without(&c, 1001).unwrap().unwrap();
        assert_eq!((out.len(), out[64]), (c.len(), 2));
        assert_eq!(out[68..80], [500u32, 1002, 0].map(u32::to_le_bytes).concat());
        assert_eq!(group_without(&c, 7).unwrap(), None);
        // Behind the last member nothing is looked for.
        assert_eq!(group_without(&c, 0).unwrap(), None);
        for (at, number) in [(56, 1u32), (60, 4), (60, 24), (64, 6), (64, u32::MAX)] {
            let mut bad = c.clone();
            bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert_eq!(group_without(&bad, 1001).unwrap_err().kind(), Kind::Damaged, "{at} {number}");
        }
        assert!((0..80).all(|cut| group_without(&c[..cut], 1001).is_err()));
    }

    #[test]
    fn a_twin_says_how_many() {
        let data = [0x220u32, 0x221, 0x222].map(u32::to_le_bytes).concat();
        let (ty, left) = twin_without(3, &data, |rid| rid == 0x221).unwrap().unwrap();
        assert_eq!((ty, left), (2, [0x220u32, 0x222].map(u32::to_le_bytes).concat()));
        assert_eq!(twin_without(3, &data, |_| true).unwrap(), Some((0, Vec::new())));
        assert_eq!(twin_without(3, &data, |rid| rid == 1).unwrap(), None);
        for (ty, len) in [(2, 12), (4, 12), (3, 11), (u32::MAX, 12), (0, 3)] {
            assert!(twin_without(ty, &data[..len], |_| true).is_err());
        }
    }

    /// `V` with a name and the given hashes.
    fn user(hashes: [&[u8]; 4]) -> Vec<u8> {
        let (mut v, mut data) = (vec![0; USER_DATA], b"name".to_vec());
        for (index, hash) in USER_HASHES.zip(hashes) {
            let place = [data.len(), hash.len()].map(|number| (number as u32).to_le_bytes()).concat();
            v[12 * index..][..8].copy_from_slice(&place);
            data.extend(hash);
        }
        v.extend(data);
        v
    }

    #[test]
    fn no_password_is_what_windows_writes_for_none() {
        let (rc4, aes) = ([3, 0, 1, 0], [&[2, 0, 2, 0, 0x10, 0, 0, 0][..], &[0xaa; 16]].concat());
        let no_aes = [&[2, 0, 2, 0, 0, 0, 0, 0][..], &[0xaa; 16]].concat();
        let (hash, two) = ([&rc4[..], &[7; 16]].concat(), [&rc4[..], &[7; 32]].concat());
        assert_eq!(without_password(&user([&rc4, &hash, &two, &rc4])).unwrap().unwrap(), user([&rc4; 4]));
        let with_aes = [&aes[..], &[7; 32]].concat();
        assert_eq!(
            without_password(&user([&no_aes, &with_aes, &with_aes, &no_aes])).unwrap().unwrap(),
            user([&no_aes; 4])
        );
        for none in [user([&rc4; 4]), user([&no_aes; 4]), user([&[]; 4])] {
            assert_eq!(without_password(&none).unwrap(), None);
        }
        let good = user([&rc4, &hash, &rc4, &rc4]);
        for cut in 0..good.len() {
            assert!(without_password(&good[..cut]).is_err(), "{cut}");
        }
        assert!(without_password(&user([&rc4, &[3, 0, 9, 0], &rc4, &rc4])).is_err());
        assert!(without_password(&user([&rc4, &[1, 2], &rc4, &rc4])).is_err());
        assert!(without_password(&[good, vec![0]].concat()).is_err());
    }
}
