//! A hive of both sides: loaded with its logs, compared key by key.

use super::content::{SideError, digest_of};
use super::file::Sides;
use super::registry::{self, Shown};
use super::{DiffEntry, DiffKind};
use crate::hives::LOG_SUFFIXES;
use crate::reg_text::Root;
use reseal_dtyp::{Error, Result};
use reseal_hive::{Hive, LoadState, Recover};
use std::sync::Arc;

/// Hives above this are told as unreadable; Windows' own stay far below.
const MAX_HIVE: usize = 512 << 20;

/// The files of a hive.
struct Files {
    primary: Vec<u8>,
    logs: Vec<Vec<u8>>,
}

impl Sides<'_> {
    /// The entries of a hive that both sides have.
    pub(super) fn compare_hives(&self, node: u32) -> Vec<DiffEntry> {
        let path = self.census.path(node);
        let [a, b] = match (self.hive_files(node, 0), self.hive_files(node, 1)) {
            (Ok(a), Ok(b)) => [a, b],
            (Err(e), _) => return vec![DiffEntry::unreadable(&path, 0, e)],
            (_, Err(e)) => return vec![DiffEntry::unreadable(&path, 1, e)],
        };
        if a.primary == b.primary && a.logs == b.logs {
            return Vec::new();
        }
        let bytes_differ = a.primary != b.primary;
        let shown = [&a, &b].map(|files| Some(Arc::from(digest_of(&files.primary))));
        match self.compare_loaded(&path, [a, b]) {
            Ok(entries) if entries.is_empty() && bytes_differ && self.options.raw => {
                vec![DiffEntry::new(DiffKind::HiveBytes, &path, shown)]
            }
            Ok(entries) => entries,
            // What cannot be read as registry still differs as a file.
            Err((side, e)) => {
                let mut out = vec![DiffEntry::unreadable(&path, side, e)];
                out.extend(bytes_differ.then(|| DiffEntry::new(DiffKind::Stream, &path, shown)));
                out
            }
        }
    }

    fn hive_files(&self, node: u32, side: usize) -> Result<Files> {
        let volume = self.sides[side];
        let node_file = self.census.node(node).files[side];
        let (Some(file), Some(folder)) = (node_file, self.census.folder_of(node, side)) else {
            return Err(Error::not_found("the hive has no file"));
        };
        let primary = volume.read(file, MAX_HIVE)?;
        let mut logs = Vec::new();
        for suffix in LOG_SUFFIXES {
            let name: Vec<u16> = self.census.name(node).iter().copied().chain(suffix.encode_utf16()).collect();
            if let Some(log) = volume.lookup(folder, &name)? {
                logs.push(volume.read(log, MAX_HIVE)?);
            }
        }
        Ok(Files { primary, logs })
    }

    fn compare_loaded(&self, path: &str, files: [Files; 2]) -> Result<Vec<DiffEntry>, SideError> {
        let open = |files: Files| {
            let logs: Vec<&[u8]> = files.logs.iter().map(Vec::as_slice).collect();
            Hive::open_vec(files.primary, &logs, Recover::AsIs)
        };
        let [a, b] = files;
        let (a, b) = rayon::join(|| open(a), || open(b));
        let hives = [a.map_err(|e| (0, e))?, b.map_err(|e| (1, e))?];
        let mut out = Vec::new();
        let states = [state(&hives[0]), state(&hives[1])];
        if states[0] != states[1] {
            out.push(DiffEntry::new(DiffKind::HiveState, path, states.map(|s| Some(Arc::from(s)))));
        }
        let [left, right] = &hives;
        let shown = Shown {
            path,
            root: &Root::of_file(path).path,
            options: self.options,
            filter: self.filter,
            words: &self.words,
            whole: self.filter.wants_file(path),
            secret: !self.options.secrets && (is_secret(path, left) || is_secret(path, right)),
        };
        registry::compare([left, right], &shown, &mut out)?;
        Ok(out)
    }
}

/// Whether the hive says all that its logs held. Logs that were replayed leave nothing open.
pub(super) fn state(hive: &Hive) -> String {
    match hive.state() {
        LoadState::Unrecovered { why } => format!("dirty, taken as it stands: {why}"),
        LoadState::Clean | LoadState::Replayed { .. } => "whole".to_owned(),
    }
}

/// Accounts and policy, under whatever name a copy lies.
fn is_secret(path: &str, hive: &Hive) -> bool {
    let name = path.rsplit('\\').next().unwrap_or(path).to_ascii_uppercase();
    let has = |key: &str| !matches!(hive.key(key), Ok(None));
    name.starts_with("SAM") || name.starts_with("SECURITY") || has(r"SAM\Domains") || has(r"Policy\Secrets")
}
