//! Names of files: letters that differ in case only are one, as on a volume of Windows.

/// A name in capital letters, unit by unit.
pub fn upper(name: &[u16]) -> Vec<u16> {
    name.iter().copied().map(upper_unit).collect()
}

/// Whether two names are one.
pub fn same(a: &[u16], b: &[u16]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || upper_unit(*a) == upper_unit(*b))
}

fn upper_unit(unit: u16) -> u16 {
    if let Ok(letter) = u8::try_from(unit)
        && letter.is_ascii()
    {
        return u16::from(letter.to_ascii_uppercase());
    }
    let Some(letter) = char::from_u32(u32::from(unit)) else { return unit };
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(unit),
        _ => unit,
    }
}
