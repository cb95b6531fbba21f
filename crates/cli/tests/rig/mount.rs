//! A volume mounted by ntfs-3g through FUSE, until the test ends, however it ends.

use reseal_testdata::oracle;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A mount: dropping it unmounts.
pub(crate) struct Mount {
    folder: PathBuf,
    daemon: Child,
}

impl Mount {
    /// Mounts a volume in a new folder. `None` (with the reason printed) where this host cannot.
    pub(crate) fn new(volume: &str, folder: &Path, options: &str) -> Option<Mount> {
        oracle::run("ntfs-3g", ["--version"])?;
        oracle::run("fusermount", ["-V"])?;
        if let Err(e) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
            oracle::missing(&format!("/dev/fuse cannot be opened: {e}"));
            return None;
        }
        std::fs::create_dir_all(folder).expect("it can be made");
        let options = ["no_detach", options].into_iter().filter(|o| !o.is_empty()).collect::<Vec<_>>().join(",");
        let daemon = Command::new("ntfs-3g")
            .args(["-o", &options, volume])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it ran before");
        let mut mount = Mount { folder: folder.to_owned(), daemon };
        let end = Instant::now() + Duration::from_secs(60);
        while !mount.is_mounted() {
            let ended = mount.daemon.try_wait().expect("it is a child");
            assert!(ended.is_none() && Instant::now() < end, "ntfs-3g does not mount {volume}: {ended:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(mount)
    }

    fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        mounts.split_whitespace().any(|word| Path::new(word) == self.folder)
    }

    /// The folder, as an argument.
    pub(crate) fn arg(&self) -> String {
        self.folder.to_str().expect("temporary folders have plain names").to_owned()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// Unmounts, and waits until everything is in the volume's file.
    pub(crate) fn end(self) {}
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Somebody may still be looking at it, such as a command that was just killed.
        for _ in 0..50 {
            let done = Command::new("fusermount").arg("-u").arg(&self.folder).stderr(Stdio::null()).status();
            if done.is_ok_and(|status| status.success()) || !self.is_mounted() {
                let _ = self.daemon.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = Command::new("fusermount").arg("-uz").arg(&self.folder).status();
        let _ = self.daemon.wait();
    }
}
