//! [MS-DTYP] 2.3.3 FILETIME.

/// 100-nanosecond intervals since 1601-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime(pub u64);

/// Seconds between 1601-01-01 and 1970-01-01.
const UNIX_EPOCH_SECONDS: u64 = 11_644_473_600;

impl FileTime {
    /// From seconds since 1970-01-01 UTC; saturates at the ends of the range.
    pub fn from_unix(seconds: i64) -> FileTime {
        let since_1601 = (seconds as i128 + UNIX_EPOCH_SECONDS as i128).max(0) * 10_000_000;
        FileTime(u64::try_from(since_1601).unwrap_or(u64::MAX))
    }

    /// Whole seconds since 1970-01-01 UTC (negative before).
    pub fn to_unix(self) -> i64 {
        (self.0 / 10_000_000) as i64 - UNIX_EPOCH_SECONDS as i64
    }

    /// Reads seconds since 1970 or `YYYY-MM-DDThh:mm:ssZ` (UTC only).
    pub fn parse(text: &str) -> Option<FileTime> {
        if let Ok(seconds) = text.parse::<i64>() {
            return Some(FileTime::from_unix(seconds));
        }
        let b = text.as_bytes();
        let shape = b.len() == 20
            && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')].iter().all(|(i, c)| b[*i] == *c);
        if !shape {
            return None;
        }
        let field = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
        let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
        let (hour, minute, second) = (field(11..13)?, field(14..16)?, field(17..19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // Day count of a civil date, the inverse of `to_iso`.
        let y = if month <= 2 { year - 1 } else { year };
        let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
        let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        let time = FileTime::from_unix(days * 86_400 + hour * 3600 + minute * 60 + second);
        // A day that the month does not have comes back as another one.
        (time.to_iso() == text).then_some(time)
    }

    /// `YYYY-MM-DDThh:mm:ssZ`.
    pub fn to_iso(self) -> String {
        let unix = self.to_unix();
        let (days, seconds) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
        // Civil date from day count, proleptic Gregorian calendar (era = 400 years).
        let z = days + 719_468;
        let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
        let year = yoe + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_and_iso() {
        assert_eq!(FileTime::from_unix(0), FileTime(116_444_736_000_000_000));
        assert_eq!(FileTime::from_unix(1_700_000_000).to_iso(), "2023-11-14T22:13:20Z");
        assert_eq!(FileTime(0).to_iso(), "1601-01-01T00:00:00Z");
        assert_eq!(FileTime::from_unix(951_782_400).to_iso(), "2000-02-29T00:00:00Z");
        for text in ["2000-02-29T00:00:00Z", "2026-01-01T12:34:56Z", "1601-01-01T00:00:00Z"] {
            assert_eq!(FileTime::parse(text).unwrap().to_iso(), text);
        }
        assert_eq!(FileTime::parse("0"), Some(FileTime::from_unix(0)));
        for bad in ["", "2001-02-29T00:00:00Z", "2001-01-01", "2001-01-01T24:00:00Z", "2001-01-01T00:00:00+01"] {
            assert_eq!(FileTime::parse(bad), None, "{bad}");
        }
    }
}
