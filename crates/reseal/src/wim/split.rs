//! Split WIMs: writing one as parts for media that hold no large files, and finding the parts of one.

use super::WimFile;
use super::output::ToNewFile;
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::Observer;
use crate::inputs::Inputs;
use reseal_disk::{NewFile, ReadAt, open_file};
use reseal_dtyp::{FileTime, Guid};
use reseal_wim::{SplitPlan, Wim};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A WIM that was divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WimSplit {
    /// Version of this document.
    pub schema: &'static str,
    /// Its parts in their order; the first holds the metadata of all images.
    pub parts: Vec<WimPart>,
}

/// A part of a split WIM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WimPart {
    /// The file that was written.
    pub output: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Contents in it.
    pub contents: usize,
    /// It is larger than was asked for: a content, and the metadata, lies whole in one part.
    pub larger: bool,
}

/// The file of a part, from 1: `install.swm`, `install2.swm`, …, as DISM and wimlib name them.
pub(super) fn path_of(first: &Path, part: usize) -> PathBuf {
    if part == 1 {
        return first.to_owned();
    }
    let mut name = first.file_stem().unwrap_or_default().to_owned();
    name.push(part.to_string());
    if let Some(ending) = first.extension() {
        name.push(".");
        name.push(ending);
    }
    first.with_file_name(name)
}

/// Opens a WIM, or all parts of one whose first part this is.
pub(super) fn open(path: &Path) -> Result<Wim> {
    let store = open_file(path)?;
    let (part, parts) = Wim::part_of(&*store)?;
    if parts == 1 {
        return Ok(Wim::open(store)?);
    }
    if part != 1 {
        return Err(Error::new(Kind::Unsupported, format!("part {part} of a WIM that is split into {parts}"))
            .hint("name the first part, with the others beside it"));
    }
    let further = |number: u16| {
        let path = path_of(path, number.into());
        open_file(&path).map_err(Error::from).map_err(|e| e.subject(path.display().to_string()))
    };
    let mut stores: Vec<Arc<dyn ReadAt>> = vec![store];
    for number in 2..=parts {
        stores.push(further(number)?);
    }
    Ok(Wim::open_parts(stores)?)
}

/// Divides a WIM into parts of at most `size` bytes, `out` the first of them; none appears under its name before all are
/// complete. A part has an integrity table when the WIM has one, or with `integrity`. `Unsupported` for solid resources, an
/// error of kind `Conflict` where a file of such a name is there.
pub fn wim_split(file: &Path, out: &Path, size: u64, integrity: bool, observer: &dyn Observer) -> Result<WimSplit> {
    let run = || -> Result<WimSplit> {
        let wim = WimFile::open(file)?.wim;
        let plan = wim.plan_split(size, integrity || wim.has_integrity()).map_err(|e| match e.kind() {
            reseal_dtyp::Kind::Unsupported => Error::from(e)
                .hint("`wimlib-imagex export IN.wim all OUT.wim --compress=LZX` makes one of it that can be divided"),
            _ => e.into(),
        })?;
        refuse_further(out, plan.count())?;
        observer.phase("writing");
        let guid = guid_of(wim.header().guid, size);
        // All names first: nothing is copied for a part whose name is taken.
        let names: Vec<PathBuf> = (1..=plan.count()).map(|part| path_of(out, part)).collect();
        let files = names.iter().map(|name| NewFile::create(name).within(name.display()));
        let files = files.collect::<Result<Vec<NewFile>>>()?;
        let total = (0..plan.count()).map(|part| plan.stored(part)).fold(0, u64::saturating_add);
        let (mut parts, mut done) = (Vec::new(), 0);
        for (part, (new, output)) in files.iter().zip(names).enumerate() {
            let mut copied = |bytes| {
                done += bytes;
                observer.bytes(done, total);
            };
            let len = wim.write_part(&plan, part, guid, &mut ToNewFile(new), &mut copied).within(output.display())?;
            new.set_len(len).and_then(|()| new.sync()).within(output.display())?;
            parts.push(WimPart { output, bytes: len, contents: plan.contents(part), larger: plan.is_larger(part) });
        }
        observer.phase("reading back");
        read_back(&wim, &plan, &files)?;
        publish(files, &parts)?;
        Ok(WimSplit { schema: "reseal.wim-split/1", parts })
    };
    run().within(file.display())
}

/// A further part of an older, longer set would be taken for one of this.
fn refuse_further(out: &Path, count: usize) -> Result<()> {
    let next = path_of(out, count + 1);
    if next.exists() {
        return Err(Error::new(
            Kind::Conflict,
            format!("{} exists, and would pass for part {}", next.display(), count + 1),
        )
        .hint("remove the parts of an older WIM first"));
    }
    Ok(())
}

/// The same WIM, divided in the same way, is the same parts.
fn guid_of(old: Guid, size: u64) -> Guid {
    let text = crate::inputs::digest(&[&old.0[..], &size.to_le_bytes()].concat());
    Inputs::seeded(&text, FileTime(0)).stream(&[b"wim-split"]).guid()
}

/// The parts must read as one WIM with the same images and contents.
fn read_back(wim: &Wim, plan: &SplitPlan, files: &[NewFile]) -> Result<()> {
    let stores = files.iter().map(|file| Ok(open_file(file.path())?)).collect::<Result<Vec<_>>>()?;
    let written = match stores.as_slice() {
        [only] => Wim::open(Arc::clone(only))?,
        _ => Wim::open_parts(stores)?,
    };
    let contents: usize = (0..plan.count()).map(|part| plan.contents(part)).sum();
    let mut is_same = written.blobs().len() == contents && written.header().images == wim.header().images;
    for number in 1..=wim.header().images {
        is_same = is_same && written.metadata(number)? == wim.metadata(number)?;
    }
    if is_same { Ok(()) } else { Err(Error::new(Kind::Io, "the parts read back differently")) }
}

/// The last part first: whoever sees the first one finds all. After an error none of them is there.
fn publish(files: Vec<NewFile>, parts: &[WimPart]) -> Result<()> {
    let mut published: Vec<&Path> = Vec::new();
    for (file, part) in files.into_iter().zip(parts).rev() {
        if let Err(e) = file.publish() {
            for path in published {
                // What cannot be removed has no first part, and is told apart by that.
                let _ = std::fs::remove_file(path);
            }
            return Err(e).within(part.output.display());
        }
        published.push(&part.output);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_dism_names_them() {
        let name = |first: &str, part| path_of(Path::new(first), part).display().to_string();
        assert_eq!(name("/a/install.swm", 1), "/a/install.swm");
        assert_eq!(name("/a/install.swm", 2), "/a/install2.swm");
        assert_eq!(name("install.x.swm", 12), "install.x12.swm");
        assert_eq!(name("install", 3), "install3");
    }
}
