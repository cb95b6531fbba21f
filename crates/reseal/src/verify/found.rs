//! What a search has found in a medium that is read file by file: how often in each place, and where first.

use super::Trace;
use super::search::Search;
use crate::left_on_purpose;
use std::collections::BTreeMap;

/// By needle, form, region and what of the region: byte offset of the first one, and how many there are.
pub(super) type Found = BTreeMap<(usize, &'static str, String, Option<&'static str>), (u64, u64)>;

/// Searches bytes that begin at byte `start` of a region.
pub(super) fn add(
    search: &Search,
    bytes: &[u8],
    start: u64,
    (region, within): (&str, Option<&'static str>),
    found: &mut Found,
) {
    search.find(bytes, |at, pattern| {
        let entry = found.entry((pattern.of, pattern.form, region.to_owned(), within));
        entry.or_insert((start + at as u64, 0)).1 += 1;
    });
}

/// The same as it is reported.
pub(super) fn traces(found: Found, search: &Search) -> impl Iterator<Item = Trace> {
    found.into_iter().map(|((of, form, region, within), (offset, count))| Trace {
        of: search.names[of].clone(),
        form,
        kind: "content",
        on_purpose: left_on_purpose::reason(&region),
        within: within.map(str::to_owned),
        region,
        offset,
        count,
    })
}
