//! Builds Windows-like images for tests, the demo and the benchmarks; finds real data and independent tools.
//!
//! Blank volumes come from `mkntfs`; everything in them is written by the writers of this workspace, so no mount and no
//! root is needed.
#![forbid(unsafe_code)]

mod accounts;
pub mod boot_store;
mod builder;
pub mod drivers;
pub mod esp;
pub mod fuzz;
pub mod oracle;
pub mod power;
pub mod real;
mod registry;
pub mod system_volume;
mod texts;
mod windows;

pub use builder::{Container, ImageBuilder, blank_volume, mbr};
pub use windows::{WindowsImage, machine_sid};
