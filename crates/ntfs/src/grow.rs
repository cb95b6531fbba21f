//! Growing and moving what lies in clusters.

use crate::attribute::kind;
use crate::file_edit::{FileEdit, Spot};
use crate::record_edit::{self, Sizes};
use crate::reference::system;
use crate::runs::{self, Run};
use crate::store::Touch;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

/// File records that `$MFT` grows by at once; the later ones when clusters for more are missing.
const MFT_STEPS: [u64; 4] = [64, 16, 4, 1];

impl Volume {
    /// Gives a plain non-resident attribute more clusters, `needed` in all, and sets its sizes. Behind the last run if that is
    /// free, else in further runs. When the run list outgrows its record and a free run is long enough, everything moves there
    /// and `keep` bytes of content are copied; else the run list goes on in further records.
    pub(crate) fn grow_attribute(
        &mut self,
        edit: &mut FileEdit,
        spot: Spot,
        old: &Clusters,
        needed: u64,
        keep: u64,
        sizes: (u64, u64),
    ) -> Result<Clusters> {
        let end = old.end_vcn();
        let cluster = u64::from(self.geometry.cluster_size);
        let needed = needed.max(end);
        let sizes = Sizes { allocated: needed.saturating_mul(cluster), size: sizes.0, initialized: sizes.1 };
        let after = old.runs.last().and_then(|r| r.lcn.map(|l| l + r.len));
        let more = self.allocate(needed - end, end, after)?;
        let runs = runs::merged(&[&old.runs[..], &more[..]].concat());
        let (kind, name) = edit.named(spot)?;
        let len = record_edit::non_resident(kind, &name, &runs, sizes).len();
        if (old.extents != 1 || len > edit.room_at(spot)?) && self.has_free_run(needed)? {
            self.release(&more)?;
            return self.relocate(edit, spot, old, needed, keep, sizes);
        }
        self.place(edit, spot, &runs, sizes)?;
        Ok(plain(runs, sizes))
    }

    /// Moves an attribute to fresh clusters, in one run if there is one; extents in other records go.
    fn relocate(
        &mut self,
        edit: &mut FileEdit,
        spot: Spot,
        old: &Clusters,
        needed: u64,
        keep: u64,
        sizes: Sizes,
    ) -> Result<Clusters> {
        let runs = self.allocate(needed, 0, None)?;
        self.place(edit, spot, &runs, sizes)?;
        let new = plain(runs, sizes);
        self.copy_content(old, &new, keep, edit.file.number())?;
        self.release(&old.runs)?;
        Ok(new)
    }

    /// Makes an attribute one extent with these runs, in the place of the first extent.
    pub(crate) fn place(&self, edit: &mut FileEdit, spot: Spot, runs: &[Run], sizes: Sizes) -> Result<()> {
        let (kind, name) = edit.named(spot)?;
        edit.replace(spot, record_edit::non_resident(kind, &name, runs, sizes))?;
        self.drop_later_extents(edit, kind, &name)
    }

    pub(crate) fn drop_later_extents(&self, edit: &mut FileEdit, kind: u32, name: &[u16]) -> Result<()> {
        loop {
            let later = edit.spots(|a| a.is(kind, name) && a.extent().is_some_and(|e| e.first_vcn > 0))?;
            // Each removal moves what follows it, so places are looked up anew.
            match later.last() {
                Some(&spot) => edit.remove(spot)?,
                None => return Ok(()),
            }
        }
    }

    fn copy_content(&mut self, old: &Clusters, new: &Clusters, keep: u64, number: u64) -> Result<()> {
        let whole = Clusters { initialized: new.allocated, ..new.clone() };
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < keep {
            let n = (keep - at).min(buffer.len() as u64) as usize;
            self.read_clusters(old, at, &mut buffer[..n])?;
            // What moves is metadata: it goes with the operation.
            self.stage_clusters(&whole, at, &buffer[..n], Touch::Data(number))?;
            at += n as u64;
        }
        Ok(())
    }

    /// Writes content into clusters at once, only the pages that differ.
    pub(crate) fn write_clusters(&mut self, clusters: &Clusters, offset: u64, data: &[u8], number: u64) -> Result<()> {
        let mut rest = data;
        for (place, len) in clusters.pieces(offset, data.len() as u64, self.geometry.cluster_size)? {
            let (part, next) = rest.split_at(len as usize);
            let at = place.ok_or_else(|| Error::unsupported(format!("a write into a hole at {offset:#x}")))?;
            self.store.write_data(at, part, Touch::Data(number))?;
            rest = next;
        }
        Ok(())
    }

    /// Adds file records to `$MFT`: clusters if needed, blank records, their bits in the bitmap.
    pub(crate) fn grow_mft(&mut self) -> Result<()> {
        let record_size = u64::from(self.geometry.record_size);
        let cluster = u64::from(self.geometry.cluster_size);
        let old_count = self.record_count();
        let end = self.mft.end_vcn();
        let after = self.mft.runs.last().and_then(|r| r.lcn.map(|l| l + r.len));
        let mut found = Err(Error::new(Kind::NoSpace, "$MFT does not grow"));
        for step in MFT_STEPS {
            // Clusters are filled to their end.
            let count = (old_count + step).next_multiple_of(step.max(cluster / record_size));
            let needed = (count * record_size).div_ceil(cluster).max(end);
            found = self.allocate(needed - end, end, after).map(|more| (count, needed, more));
            if !matches!(&found, Err(e) if e.kind() == Kind::NoSpace) {
                break;
            }
        }
        let (count, needed, more) = found?;
        let size = count * record_size;
        self.grow_record_bitmap(count)?;
        let mut edit = FileEdit::new(self.file_by_number(system::MFT)?);
        let spot = edit.spot(kind::DATA, &[])?;
        let spot = spot.ok_or_else(|| Error::damaged("file record", "$DATA", 0, "$MFT has no data"))?;
        let runs = runs::merged(&[&self.mft.runs[..], &more[..]].concat());
        let sizes = Sizes { allocated: needed * cluster, size, initialized: size };
        // $MFT never moves: the boot sector names its first cluster.
        self.place(&mut edit, spot, &runs, sizes)?;
        edit.finish(self)?;
        self.mft = Clusters { flags: self.mft.flags, ..plain(runs, sizes) };
        for number in old_count..count {
            let record = record_edit::blank(number, 0, self.geometry.record_size, 1, 0, 0);
            self.stage_record(&record)?;
        }
        self.forget_records(count);
        Ok(())
    }

    fn grow_record_bitmap(&mut self, count: u64) -> Result<()> {
        let Stream::Clusters(bitmap) = self.system_stream(system::MFT, kind::BITMAP, &[])? else {
            return Err(Error::unsupported("the bitmap of $MFT is resident"));
        };
        let size = count.div_ceil(64) * 8;
        if size <= bitmap.initialized {
            return Ok(());
        }
        let cluster = u64::from(self.geometry.cluster_size);
        let mut edit = FileEdit::new(self.file_by_number(system::MFT)?);
        let spot = edit.spot(kind::BITMAP, &[])?;
        let spot = spot.ok_or_else(|| Error::damaged("file record", "$BITMAP", 0, "$MFT has no bitmap"))?;
        let needed = size.div_ceil(cluster).max(bitmap.end_vcn());
        let new =
            self.grow_attribute(&mut edit, spot, &bitmap, needed, bitmap.initialized, (size.max(bitmap.size), size))?;
        edit.finish(self)?;
        let zeros = vec![0; (size - bitmap.initialized) as usize];
        self.stage_clusters(&new, bitmap.initialized, &zeros, Touch::RecordBitmap)
    }
}

fn plain(runs: Vec<Run>, sizes: Sizes) -> Clusters {
    Clusters {
        runs,
        allocated: sizes.allocated,
        size: sizes.size,
        initialized: sizes.initialized,
        extents: 1,
        ..Clusters::default()
    }
}
