//! Edits of the account database: members of local groups. Bytes in, bytes out; what is not laid out as Windows lays it out is an
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
}
