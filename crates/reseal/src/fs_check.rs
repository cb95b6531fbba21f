//! `fs check`: all of NTFS, volume by volume, in the three stages of chkdsk.

use crate::error::{Result, Within};
use crate::generalize::ShownFinding;
use crate::image::{DiskImage, Image};
use reseal_ntfs::{Probe, StageResult};
use serde::Serialize;

/// What the check of one volume found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeCheck {
    /// Which partition.
    pub volume: String,
    /// Its three stages.
    pub stages: Vec<CheckStage>,
}

/// One stage of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckStage {
    /// From 1 to 3.
    pub stage: u8,
    /// What is looked at.
    pub title: &'static str,
    /// How many were looked at.
    pub examined: u64,
    /// What `examined` counts.
    pub unit: &'static str,
    /// Worst first.
    pub findings: Vec<ShownFinding>,
}

impl From<StageResult> for CheckStage {
    fn from(result: StageResult) -> CheckStage {
        CheckStage {
            stage: result.stage.number(),
            title: result.stage.title(),
            examined: result.examined,
            unit: result.stage.unit(),
            findings: result.findings.into_iter().map(ShownFinding::from).collect(),
        }
    }
}

/// Told how far a check has come.
pub trait CheckObserver {
    /// The check of a volume begins.
    fn volume(&mut self, volume: &str) {
        let _ = volume;
    }
    /// A stage of it has ended.
    fn stage(&mut self, stage: &CheckStage) {
        let _ = stage;
    }
}

/// Every check of every selected NTFS volume.
pub fn fs_check(image: &Image, observer: &mut dyn CheckObserver) -> Result<Vec<VolumeCheck>> {
    let image = image.disk()?;
    let mut run = || -> Result<Vec<VolumeCheck>> {
        let mut out = Vec::new();
        for partition in image.partitions() {
            if image.probe(partition)? != Probe::Ntfs {
                continue;
            }
            let place = DiskImage::place(partition);
            observer.volume(&place);
            let mut stages = Vec::new();
            let mut done = |result: StageResult| {
                let stage = CheckStage::from(result);
                observer.stage(&stage);
                stages.push(stage);
            };
            image.volume(partition)?.check_stages(&mut done).within(&place)?;
            out.push(VolumeCheck { volume: place, stages });
        }
        Ok(out)
    };
    run().within(image.path().display())
}
