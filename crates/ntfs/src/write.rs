//! How records, index blocks and streams get back to the volume: staged, with fixups, in both copies.

use crate::file::Record;
use crate::fixup;
use crate::store::Touch;
use crate::stream::Clusters;
use crate::tree::Tree;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

impl Volume {
    /// Runs an operation: what it staged is written when it succeeds and forgotten when it fails.
    pub(crate) fn operation<T>(&mut self, run: impl FnOnce(&mut Volume) -> Result<T>) -> Result<T> {
        if let Some(fault) = &self.mirror_fault {
            return Err(Error::new(
                Kind::Damaged,
                format!("nothing is written to a volume whose $MFTMirr is stale: {fault}"),
            ));
        }
        let mft = self.mft.clone();
        self.store.begin();
        match run(self).and_then(|value| self.store.commit().map(|()| value)) {
            Ok(value) => {
                self.settle_freed()?;
                Ok(value)
            }
            Err(error) => {
                self.store.rollback();
                self.allocator = None;
                self.inherited.clear();
                self.counts_usage = None;
                self.mft = mft;
                Err(error)
            }
        }
    }

    /// Stages bytes of a non-resident stream; the range must lie in clusters and below the initialized size.
    pub(crate) fn stage_clusters(&mut self, clusters: &Clusters, offset: u64, data: &[u8], what: Touch) -> Result<()> {
        if offset.saturating_add(data.len() as u64) > clusters.initialized {
            let detail = format!("{} bytes at {offset:#x} of {:#x} initialized ones", data.len(), clusters.initialized);
            return Err(Error::new(Kind::Conflict, detail));
        }
        let mut rest = data;
        for (place, len) in clusters.pieces(offset, data.len() as u64, self.geometry.cluster_size)? {
            let (part, next) = rest.split_at(len as usize);
            let at =
                place.ok_or_else(|| Error::new(Kind::Unsupported, format!("a write into a hole at {offset:#x}")))?;
            self.store.stage(at, part, what)?;
            rest = next;
        }
        Ok(())
    }

    /// Stages a file record, and its copy in `$MFTMirr` when it has one.
    pub(crate) fn stage_record(&mut self, record: &Record) -> Result<()> {
        if record.bytes.len() != self.geometry.record_size as usize {
            let detail = format!("record {} has {} bytes too many", record.number, record.excess()?);
            return Err(Error::new(Kind::NoSpace, detail));
        }
        let mut bytes = record.bytes.clone();
        fixup::protect(&mut bytes, "file record", record.at)?;
        let offset = record.number * u64::from(self.geometry.record_size);
        let what = Touch::FileRecord(record.number);
        let mft = self.mft.clone();
        self.stage_clusters(&mft, offset, &bytes, what)?;
        if record.number < self.geometry.mirrored_records() {
            let mirror = self.mirror.clone();
            self.stage_clusters(&mirror, offset, &bytes, what)?;
        }
        Ok(())
    }

    /// Stages a block of an index.
    pub(crate) fn stage_index_block(&mut self, tree: &Tree, vcn: u64, bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes.to_vec();
        fixup::protect(&mut bytes, "index block", 0)?;
        let allocation = tree.allocation.as_ref();
        let allocation =
            allocation.ok_or_else(|| Error::new(Kind::Conflict, "an index block without an allocation"))?;
        let offset = vcn.saturating_mul(u64::from(tree.vcn_unit));
        self.stage_clusters(allocation, offset, &bytes, Touch::IndexBlock(tree.owner))
    }
}
