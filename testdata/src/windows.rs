//! A small Windows-like volume: folders, hives, profiles, descriptors, 8.3 names, hard links, streams.

use crate::accounts::ACCOUNTS;
use crate::real::PlacedFile;
use crate::{accounts, registry, texts};
use anyhow::{Context, Result};
use reseal_dtyp::{Descriptor, DomainSid, FileTime, Sid};
use reseal_ntfs::{FileReference, Security, Volume};

/// The SID of every made-up machine.
pub fn machine_sid() -> DomainSid {
    DomainSid([1_004_336_348, 1_177_238_915, 682_003_330])
}

/// A machine that built the image, or a former domain: must survive.
const FOREIGN: DomainSid = DomainSid([397_955_417, 626_881_126, 188_441_444]);

/// What the volume shall hold.
#[derive(Debug, Clone)]
pub struct WindowsImage {
    /// Machine SID.
    pub sid: DomainSid,
    /// Computer name.
    pub computer: String,
    /// Hives and other files to place instead of made-up ones; empty for a made-up machine.
    pub placed: Vec<PlacedFile>,
    /// Descriptors, one file each below `Data`.
    pub descriptors: Vec<Vec<u8>>,
    /// Further files, in folders of 100, spread over the descriptors.
    pub files: usize,
}

impl Default for WindowsImage {
    fn default() -> WindowsImage {
        WindowsImage {
            sid: machine_sid(),
            computer: "GOLD-07".into(),
            placed: Vec::new(),
            descriptors: Vec::new(),
            files: 0,
        }
    }
}

/// The time of everything in a made-up volume.
const TIME: FileTime = FileTime(133_500_000_000_000_000);

/// A volume being filled; folders are made on the way.
struct Filler<'v> {
    volume: &'v mut Volume,
}

impl Filler<'_> {
    fn folder(&mut self, path: &str, sddl: Option<&str>) -> Result<FileReference> {
        let mut at = self.volume.root();
        for name in path.split('\\').filter(|n| !n.is_empty()) {
            let units: Vec<u16> = name.encode_utf16().collect();
            at = match self.volume.lookup(at, &units)? {
                Some(found) => found,
                None => match sddl {
                    Some(sddl) => {
                        let descriptor = Descriptor::from_sddl(sddl)?.to_bytes()?;
                        self.volume.create_dir(at, name, Security::Descriptor(&descriptor), TIME)?
                    }
                    None => self.volume.create_dir(at, name, Security::SameAs(at), TIME)?,
                },
            };
        }
        Ok(at)
    }

    fn file(&mut self, path: &str, data: &[u8], sddl: Option<&str>) -> Result<FileReference> {
        let descriptor = sddl.map(|s| Descriptor::from_sddl(s)?.to_bytes()).transpose()?;
        self.file_with(path, data, descriptor.as_deref())
    }

    fn file_with(&mut self, path: &str, data: &[u8], descriptor: Option<&[u8]>) -> Result<FileReference> {
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let parent = self.folder(folder, None)?;
        let security = descriptor.map_or(Security::SameAs(parent), Security::Descriptor);
        self.volume.create_file(parent, name, data, security, TIME).with_context(|| path.to_owned())
    }
}

const SYSTEM_SDDL: &str = "O:SYG:SYD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)";

impl WindowsImage {
    /// Fills a blank volume.
    pub fn fill(&self, volume: &mut Volume) -> Result<()> {
        let mut filler = Filler { volume };
        for folder in [
            r"Windows\System32\config",
            r"Windows\System32\Sysprep",
            r"Windows\System32\winevt\Logs",
            r"Windows\Setup\State",
            "Users",
            "ProgramData",
        ] {
            filler.folder(folder, Some(SYSTEM_SDDL))?;
        }
        if self.placed.is_empty() {
            self.made_up_hives(&mut filler)?;
        }
        for file in &self.placed {
            filler.file(&file.path, &file.bytes, None)?;
        }
        self.profiles(&mut filler)?;
        if self.placed.is_empty() {
            self.texts(&mut filler)?;
        }
        filler.file(r"Windows\System32\Sysprep\sysprep.exe", b"MZ not a program", Some(SYSTEM_SDDL))?;
        let state = "[State]\r\nImageState=\"IMAGE_STATE_COMPLETE\"\r\n";
        filler.file(r"Windows\Setup\State\State.ini", state.as_bytes(), None)?;
        for log in ["System", "Security", "Microsoft-Windows-TaskScheduler%4Operational"] {
            let content = [b"ElfFile\0".to_vec(), self.sid.account(1001).to_bytes(), vec![0; 70_000]].concat();
            filler.file(&format!(r"Windows\System32\winevt\Logs\{log}.evtx"), &content, None)?;
        }
        for (i, descriptor) in self.descriptors.iter().enumerate() {
            filler.file_with(
                &format!(r"Data\{:02}\file {i}.bin", i / 100),
                &vec![i as u8; i % 900],
                Some(descriptor),
            )?;
        }
        self.bulk(&mut filler)
    }

    fn made_up_hives(&self, filler: &mut Filler<'_>) -> Result<()> {
        let config = |name: &str| format!(r"Windows\System32\config\{name}");
        filler.file(&config("SAM"), &accounts::sam(self.sid, TIME)?, None)?;
        filler.file(&config("SECURITY"), &accounts::security(self.sid, &self.computer, TIME)?, None)?;
        filler.file(&config("SYSTEM"), &registry::system(self.sid, &self.computer, TIME)?, None)?;
        filler.file(&config("SOFTWARE"), &registry::software(self.sid, FOREIGN, &self.computer, TIME)?, None)?;
        let system: Sid = "S-1-5-18".parse()?;
        filler.file(&config("DEFAULT"), &registry::user(&system, TIME)?, None)?;
        for log in ["SAM.LOG1", "SECURITY.LOG1", "SYSTEM.LOG1", "SOFTWARE.LOG1"] {
            filler.file(&config(log), &vec![0; 65_536], None)?;
        }
        Ok(())
    }

    /// Files of Windows with the machine's SID in them.
    fn texts(&self, filler: &mut Filler<'_>) -> Result<()> {
        for task in texts::tasks(self.sid, &self.computer) {
            filler.file(&format!(r"Windows\System32\Tasks{}", task.path), &task.file, Some(SYSTEM_SDDL))?;
        }
        let user = self.sid.account(1001);
        let policy = texts::registry_pol(self.sid);
        filler.file(&format!(r"Windows\System32\GroupPolicyUsers\{user}\User\Registry.pol"), &policy, None)?;
        filler.file(r"Users\ann\ntuser.pol", &policy, None)?;
        let template = r"Windows\System32\GroupPolicy\Machine\Microsoft\Windows NT\SecEdit\GptTmpl.inf";
        filler.file(template, &texts::security_template(self.sid), None)?;
        let (store, log) = texts::state_repository(self.sid, FOREIGN)?;
        let folder = r"ProgramData\Microsoft\Windows\AppRepository";
        filler.file(&format!(r"{folder}\StateRepository-Machine.srd"), &store, None)?;
        filler.file(&format!(r"{folder}\StateRepository-Machine.srd-wal"), &log, None)?;
        filler.file(&format!(r"{folder}\StateRepository-Machine.srd-shm"), &vec![0; 32_768], None)?;
        let settings = registry::user(&user, TIME)?;
        for place in [
            r"Users\ann\AppData\Local\Packages\App_1\Settings",
            r"ProgramData\Packages\App_1\S-1-5-21-0\SystemAppData\Helium",
        ] {
            filler.file(&format!(r"{place}\settings.dat"), &settings, None)?;
        }
        Ok(())
    }

    fn profiles(&self, filler: &mut Filler<'_>) -> Result<()> {
        if !self.placed.is_empty() {
            return Ok(());
        }
        for user in ACCOUNTS.iter().filter(|u| u.enabled || u.rid == 500) {
            let account = self.sid.account(user.rid);
            let home = format!(r"Users\{}", user.name);
            let own = format!(
                "O:{account}G:{}D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{account})",
                self.sid.account(513)
            );
            filler.folder(&home, Some(&own))?;
            filler.file(&format!(r"{home}\NTUSER.DAT"), &registry::user(&account, TIME)?, Some(&own))?;
            filler.file(
                &format!(r"{home}\AppData\Roaming\Microsoft\Protect\{account}\Preferred"),
                &[7; 24],
                Some(&own),
            )?;
            filler.file(&format!(r"$Recycle.Bin\{account}\desktop.ini"), b"[.ShellClassInfo]\r\n", Some(&own))?;
            filler.file(&format!(r"{home}\Documents\A long file name of {}.txt", user.name), b"hello", Some(&own))?;
        }
        Ok(())
    }

    fn bulk(&self, filler: &mut Filler<'_>) -> Result<()> {
        for i in 0..self.files {
            let path = format!(r"Program Files\Package {:04}\component-{i:06}.dll", i / 100);
            let content: Vec<u8> = format!("file {i} ").bytes().cycle().take(i * 7 % 3000).collect();
            let descriptor =
                (!self.descriptors.is_empty()).then(|| self.descriptors[i % self.descriptors.len()].as_slice());
            filler.file_with(&path, &content, descriptor)?;
        }
        Ok(())
    }
}
