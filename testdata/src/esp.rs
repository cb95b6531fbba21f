//! FAT volumes made by dosfstools and mtools, which share no code with ours.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// A FAT volume to be made.
#[derive(Debug, Clone, Copy)]
pub struct FatVolume {
    /// Its length in bytes.
    pub len: u64,
    /// 12, 16 or 32.
    pub bits: u8,
    /// Bytes in a sector.
    pub sector: u32,
    /// Sectors in a cluster.
    pub per_cluster: u32,
}

impl Default for FatVolume {
    /// A small one: FAT16, in clusters of 512 bytes.
    fn default() -> FatVolume {
        FatVolume { len: 4 << 20, bits: 16, sector: 512, per_cluster: 1 }
    }
}

/// The time of everything on the volume: 2023-01-17, in seconds since 1970.
const TIME: &str = "1673956800";

fn tool(name: &str, args: &[&str], image: &Path) -> Result<()> {
    let run = |name: &str| {
        let mut command = Command::new(name);
        command.args(args.iter().map(|arg| if *arg == "IMAGE" { image.as_os_str() } else { arg.as_ref() }));
        command.env("SOURCE_DATE_EPOCH", TIME).env("MTOOLS_SKIP_CHECK", "1").output()
    };
    let output = run(name).or_else(|_| run(&format!("/usr/sbin/{name}")));
    let output = output.with_context(|| format!("{name} does not run (`cargo xtask setup` installs it)"))?;
    if !output.status.success() {
        bail!("{name} {args:?} ends with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl FatVolume {
    /// The volume's bytes, with these files (path with `/`, content) in the folders that they need. The same bytes each time.
    pub fn build(&self, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir()?;
        let image = dir.path().join("fat.img");
        std::fs::File::create(&image)?.set_len(self.len)?;
        let (bits, sector, per) = (self.bits.to_string(), self.sector.to_string(), self.per_cluster.to_string());
        let format = ["--invariant", "-i", "5eed0001", "-F", &bits, "-S", &sector, "-s", &per, "-n", "SYSTEM", "IMAGE"];
        tool("mkfs.fat", &format, &image)?;
        let mut folders: Vec<String> = Vec::new();
        for (path, content) in files {
            let parts: Vec<&str> = path.split('/').collect();
            for depth in 1..parts.len() {
                let folder = parts[..depth].join("/");
                if !folders.contains(&folder) {
                    tool("mmd", &["-i", "IMAGE", &format!("::/{folder}")], &image)?;
                    folders.push(folder);
                }
            }
            let source = dir.path().join("content");
            std::fs::write(&source, content)?;
            let source = source.to_str().context("a plain name")?;
            tool("mcopy", &["-i", "IMAGE", source, &format!("::/{path}")], &image)?;
        }
        Ok(std::fs::read(image)?)
    }
}

/// A file of a FAT volume, as mtools reads it. `None` when mtools is not installed (and not required).
pub fn read_back(volume: &Path, path: &str) -> Option<Vec<u8>> {
    let volume = volume.to_str().expect("temporary folders have plain names");
    let output = crate::oracle::run("mcopy", ["-n", "-i", volume, &format!("::/{path}"), "-"])?;
    assert!(output.status.success(), "mcopy {path}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// Holds a FAT volume against `fsck.fat -n`, which must find nothing. `None` when it is not installed (and not required).
pub fn fsck(volume: &Path) -> Option<String> {
    let tool = ["/usr/sbin/fsck.fat", "/sbin/fsck.fat"].into_iter().find(|path| Path::new(path).exists());
    crate::oracle::agree(tool.unwrap_or("fsck.fat"), [std::ffi::OsStr::new("-n"), volume.as_os_str()])
}
